"""Parameters that several commands have, each with what a shell completes it to."""

from __future__ import annotations

from typing import Annotated

import typer

from alertstream.cli.completion import complete_topics
from alertstream.cli.option_groups import choice

TopicName = Annotated[
    str, typer.Argument(metavar="TOPIC", help="The topic.", autocompletion=complete_topics)
]
TOPIC_OR_PATTERN = typer.Argument(
    metavar="TOPIC",
    help="The topic, or a pattern as 'alerts-*'.",
    autocompletion=complete_topics,
)
TopicOrPattern = Annotated[str, TOPIC_OR_PATTERN]
Format = Annotated[
    str,
    choice("format", ("text", "json"), help="text, for people, or json, a line an object."),
]
