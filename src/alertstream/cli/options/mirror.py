"""Options of a mirror: whether all of a topic is copied, how much of it, and how fast.

There is no ``from __future__ import annotations``, as typer evaluates these where a command is
defined, not here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alertstream.cli.options.shared import TargetOptions, option_group
from alertstream.errors import UsageError

if TYPE_CHECKING:
    from alertstream.filtering.filters import AlertFilter

_filters = option_group("Filters")
_what_to_read = option_group("What to read")

MIN_RATE, MAX_RATE = 0.01, 1e9


@dataclass(frozen=True, kw_only=True)
class MirrorOptions(TargetOptions):
    """Whether all is copied, how much of it, and how fast."""

    all_: bool = _filters(
        False,
        "Copy every message as it is, without a cap, to the topic of the same name, or --output.",
        names=("--all",),
    )
    visit: int | None = _filters(None, "With --all: only the alerts of this visit.", "VISIT")
    rate: float = _what_to_read(
        0, "Read at most so many alerts per second; 0: no limit.", "N", min=0
    )

    def bounded_rate(self) -> float:
        """Return the maximum alerts per second; 0 is no limit.

        :raises UsageError: it is not a valid rate.
        """
        if self.rate and not MIN_RATE <= self.rate <= MAX_RATE:
            what = f"{self.rate} is not a valid --rate"
            raise UsageError(what, todo="give alerts per second, such as 500")
        return self.rate

    def mirror(
        self, topic: str, output: str | None, excluded: Mapping[str, object]
    ) -> "AlertFilter":
        """Return the filter of --all.

        :param output: the topic that gets the copies; None is one of the same name.
        :param excluded: other options that select alerts, by name.
        :raises UsageError: one of them is given, or no topic can have the output's name.
        """
        from alertstream.filtering.filters import MirrorFilter
        from alertstream.kafka.topics import require_topic_name

        if others := [name for name, value in excluded.items() if value]:
            what = f"--all copies everything, and excludes {', '.join(others)}"
            raise UsageError(what, todo="give the one or the other")
        if output is not None:
            require_topic_name(output)
        return MirrorFilter(output or topic, self.visit)

    def mirror_group(self, topic: str, output: str | None) -> str:
        """Return the name of the consumer group that does this work."""
        to = [] if output is None or output == topic else [output]
        visit = [] if self.visit is None else [f"visit-{self.visit}"]
        return "-".join(["mirror", topic, *to, *visit])
