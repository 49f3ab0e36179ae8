"""``alertstream doctor``."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from alertstream.cli.options.schemas import SchemaOptions
from alertstream.cli.options.shared import (
    FormatOptions,
    ReadingOptions,
    TargetOptions,
    broker_argument,
    topic_argument,
)
from alertstream.cli.terminal.output import DONE, FAILED, as_json, wait_on, write_line

if TYPE_CHECKING:
    from alertstream.local.doctor import Finding


@dataclass(frozen=True, kw_only=True)
class Doctor(ReadingOptions, TargetOptions, SchemaOptions, FormatOptions):
    """Find out why a stream cannot be read.

    Checks host, rights, topic, registry, clock and schema; with --to, of both Kafkas.

    Example: alertstream doctor localhost:9092 alerts
    """

    broker: str = broker_argument("localhost:9092")
    topic: str | None = topic_argument(None, "The topic to be read.")

    def run(self) -> int:
        """Show each finding as it is made; return 1 if something is wrong."""
        from alertstream.cli.event_loop import run, until_stopped
        from alertstream.local.doctor import Plan, examine
        from alertstream.sending.visits.schedule import Clock

        connection, schemas = self.connection(), self.known_schemas()
        plan = Plan(
            self.topic, self.group_or(None), self.group_prefix, self.target(), _filter_command()
        )
        findings = examine(connection, plan, schemas, Clock())
        bad = False

        async def show() -> None:
            nonlocal bad
            async for found in findings:
                bad = bad or found.good is False
                write_line(as_json(asdict(found)) if self.format == "json" else _line(found))
                wait_on("checking the rest")

        run(lambda stop: until_stopped(show(), stop))
        return FAILED if bad else DONE


def _filter_command() -> str:
    """Return this command line as one that filters to a Kafka on this machine."""
    given = ["filter" if each == "doctor" else each for each in sys.argv[1:]]
    return shlex.join(["alertstream", *given, "1-3", "--to", "localhost:9092"])


def _line(found: Finding) -> str:
    mark = {True: "ok", False: "BAD", None: "-"}[found.good]
    todo = f" · {found.todo}" if found.todo else ""
    return f"{mark:4}{found.name:12}{found.what}{todo}"
