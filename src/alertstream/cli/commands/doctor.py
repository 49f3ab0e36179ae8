"""``alertstream doctor``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from alertstream.cli.options.reading import AUTO, ReadingOptions
from alertstream.cli.options.schemas import SchemaOptions
from alertstream.cli.options.shared import (
    FormatOptions,
    TargetOptions,
    broker_argument,
    option_group,
    topic_argument,
)
from alertstream.cli.terminal.output import DONE, FAILED, as_json, wait_on, write_line
from alertstream.errors import UsageError

if TYPE_CHECKING:
    from alertstream.local.doctor import Finding

_rights = option_group("Rights")


@dataclass(frozen=True, kw_only=True)
class Doctor(ReadingOptions, TargetOptions, SchemaOptions, FormatOptions):
    """Find out why a stream cannot be read.

    Checks host, rights, topic, registry, clock and schema; with --to, of both Kafkas. Or, with
    --acls, says which rights each command needs, and asks no Kafka.

    Example: alertstream doctor localhost:9092 alerts
    """

    broker: str = broker_argument("localhost:9092")
    topic: str | None = topic_argument(None, "The topic to be read.")
    acls: bool = _rights(
        False, "List the rights that each command needs for TOPIC.", names=("--acls",)
    )
    output: list[str] | None = _rights(
        None,
        "With --acls: a topic that filters write, or Own-*; repeatable; default: Filter*.",
        "TOPIC",
    )

    def run(self) -> int:
        """Show each finding as it is made; return 1 if something is wrong."""
        if self.acls or self.output:
            for line in self._rights():
                write_line(line)
            return DONE
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

    def _rights(self) -> Iterator[str]:
        """Yield the rights of each command, as lines."""
        from alertstream.filtering.filters import group_name
        from alertstream.local.rights import Use, as_commands

        if not self.acls or not self.topic:
            option, needed = ("--acls", "TOPIC") if self.acls else ("--output", "--acls")
            raise UsageError(f"{option} needs {needed}", todo="add it")
        to, prefix, user = self.target(), self.group_prefix, self.username or "NAME"
        own = prefix + f"{user}-".removeprefix(prefix)
        use = Use(
            topic=self.topic,
            group=self.group_or(group_name(self.topic)) or "",
            outputs=self.output or ["Filter*"],
            source=self.broker,
            to=to.bootstrap if to else None,
            user=user,
            to_user=(to and to.username) or "NAME",
            auto=own if self.group in (None, AUTO) else None,
        )
        if self.format == "json":
            return (as_json(asdict(each)) for each in use.rights())
        return as_commands(use.rights())


def _filter_command() -> str:
    """Return this command line as one that filters to a Kafka on this machine."""
    given = ["filter" if each == "doctor" else each for each in sys.argv[1:]]
    return shlex.join(["alertstream", *given, "1-3", "--to", "localhost:9092"])


def _line(found: Finding) -> str:
    mark = {True: "ok", False: "BAD", None: "-"}[found.good]
    todo = f" · {found.todo}" if found.todo else ""
    return f"{mark:4}{found.name:12}{found.what}{todo}"
