"""``alertstream filter``, and what it does without Kafka: list filters, write one, try them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from alertstream.cli.commands.filter_offline import (
    counts_line,
    dry_run,
    list_filters,
    require_fields_of,
    write_new_filter,
)
from alertstream.cli.options.completion import complete_filters, complete_where
from alertstream.cli.options.schemas import SchemaOptions
from alertstream.cli.options.shared import (
    FormatOptions,
    ReadingOptions,
    WorkerOptions,
    broker_argument,
    option_group,
    topic_argument,
)
from alertstream.cli.terminal.output import DONE, UNDECODABLE, notice, write_line, write_lines
from alertstream.errors import UsageError

if TYPE_CHECKING:
    import asyncio

    from alertstream.avro.schemas import Schemas
    from alertstream.filtering.account import FilterCounts
    from alertstream.filtering.filters import AlertFilter
    from alertstream.filtering.pipeline import FilterOptions, Report
    from alertstream.kafka.connection import Connection


_filters = option_group("Filters")
_without_kafka = option_group("Without Kafka")


@dataclass(frozen=True, kw_only=True)
class Filter(ReadingOptions, SchemaOptions, WorkerOptions, FormatOptions):
    """Filter a topic into smaller ones, one per filter.

    Alerts that a filter passes go to the topic of its name.

    Example: alertstream filter localhost:9092 alerts 1-3 --exit-on-eof
    """

    broker: str = broker_argument("")
    topic: str = topic_argument("")
    filter: list[str] | None = typer.Argument(
        None,
        metavar="FILTER",
        help="Numbers (1), ranges (1-100), class names; default: all of --filters.",
        autocompletion=complete_filters,
    )
    filters: list[Path] | None = _filters(
        None, "Python file with filters; its code is run; repeatable.", "FILE"
    )
    where: str | None = _filters(
        None,
        "Filter expression, as in: diaSource.snr > 5 and band == 'g'",
        "EXPRESSION",
        autocompletion=complete_where,
    )
    output: str | None = _filters(None, "The topic that gets what --where passes.", "TOPIC")
    cap: int = _filters(20, "Maximum alerts per visit and filter; 0: no limit.", "N", min=0)
    delivery: Literal["exactly-once", "at-least-once"] = _filters(
        "exactly-once", "exactly-once or at-least-once.", "HOW"
    )
    list_: bool = _without_kafka(False, "List the filters.", names=("--list",))
    dry_run: Path | None = _without_kafka(
        None, "Try filters on a container file, or a folder of them, and write nothing.", "PATH"
    )
    new: str | None = _without_kafka(None, "Write a template for a filter of this name.", "CLASS")

    def run(self) -> int:
        """Do what is asked for."""
        if self.list_ + (self.dry_run is not None) + (self.new is not None) > 1:
            raise UsageError("--list, --dry-run and --new exclude each other", todo="give one")
        if (self.list_ or self.new is not None) and (names := self._names()):
            raise UsageError("--list and --new take no FILTER", where=names[0], todo="omit it")
        if self.list_:
            return list_filters(self.filters or (), self.format)
        if self.new is not None:
            return write_new_filter(self.new)
        if self.dry_run is not None:
            return dry_run(
                self.dry_run,
                self._chosen(self._names(), self.output or "where"),
                self.cap,
                self.known_schemas(),
                self.format,
            )
        return self._filter()

    def _names(self) -> list[str]:
        """Return the names of filters on a command line without BROKER and TOPIC.

        :raises UsageError: there is a BROKER.
        """
        given = [self.broker, self.topic, *(self.filter or ())]
        if self.context.lookup_default("broker"):
            del given[0]
        names = [each for each in given if each]
        if self.dry_run is not None and names and ":" in names[0]:
            raise UsageError(
                "--dry-run takes no BROKER and TOPIC", where=names[0], todo="leave them out"
            )
        return names

    def _chosen(self, names: Sequence[str], output: str | None) -> list[AlertFilter]:
        """Return the filters that the command line names, at least one."""
        from alertstream.filtering.expression import WhereFilter
        from alertstream.filtering.filters import choose_filters

        chosen = choose_filters(names, self.filters or ())
        if self.where is not None and output is not None:
            chosen.append(WhereFilter(self.where, output))
        if not chosen:
            raise UsageError(
                "no filter is named", todo="give its number or class, as in: 1, or 1-100"
            )
        return chosen

    def _filter(self) -> int:
        from alertstream.filtering.pipeline import FilterOptions

        for name, given in (("BROKER", self.broker), ("TOPIC", self.topic)):
            if not given:
                hint = "see alertstream filter --help"
                raise UsageError(f"Missing argument '{name}'.", todo=hint)
        if (self.where is None) != (self.output is None):
            raise UsageError("--where and --output belong together", todo="give both, or none")
        connection, schemas = self.connection(), self.known_schemas()
        chosen = self._chosen(self.filter or (), self.output)
        _require_no_circle(self.topic, chosen)
        require_fields_of(chosen, schemas)
        wanted = FilterOptions(chosen, self.cap, self.delivery == "exactly-once")
        if self.workers == 1:
            totals = self._filter_alone(connection, schemas, wanted)
        else:
            totals = self._filter_with_workers(connection, wanted)
        line = counts_line(self.format)
        for counts in totals:
            write_line(line(counts))
        return UNDECODABLE if any(each.undecodable or each.failed for each in totals) else DONE

    def _filter_alone(
        self, connection: Connection, schemas: Schemas, wanted: FilterOptions
    ) -> list[FilterCounts]:
        """Filter in this process, which may be a worker; return each filter's totals."""
        from alertstream.cli.event_loop import run, stop_with_input
        from alertstream.cli.instance_name import instance_name
        from alertstream.cli.terminal.progress import reading_progress
        from alertstream.filtering.filters import group_name
        from alertstream.filtering.pipeline import open_pipeline

        async def main(stop: asyncio.Event) -> list[FilterCounts]:
            if self.worker:
                stop_with_input(stop)
            else:
                await self.notice_start(connection, subscription)
            with reading_progress() as progress:
                async with open_pipeline(
                    connection,
                    subscription,
                    wanted,
                    schemas,
                    stop=stop,
                    notice=notice,
                    report=self._report_until(stop),
                    progress=progress,
                ) as pipeline:
                    return await pipeline.run()

        default = group_name(wanted.filters)
        with instance_name(self.group_or(default) or default) as instance:
            subscription = self.subscription(self.topic, group=default, instance=instance)
            return run(main)

    def _filter_with_workers(
        self, connection: Connection, wanted: FilterOptions
    ) -> list[FilterCounts]:
        """Filter in several processes; return each filter's totals."""
        from alertstream.cli.event_loop import run
        from alertstream.cli.workers import filter_with_workers, worker_command
        from alertstream.filtering.account import FilterAccount
        from alertstream.filtering.filters import group_name
        from alertstream.kafka.admin import require_topics

        subscription = self.subscription(self.topic, group=group_name(wanted.filters))

        async def main(stop: asyncio.Event) -> list[FilterCounts]:
            partitions = sum((await require_topics(connection, [self.topic])).values())
            await self.notice_start(connection, subscription)
            if 0 < partitions < self.workers:
                count = f"{partitions} of {self.workers} workers"
                notice(f"{self.topic} has partitions for only {count}")
            return await filter_with_workers(
                [worker_command()] * min(self.workers, partitions or self.workers),
                FilterAccount(wanted.topics),
                went_well=(DONE, UNDECODABLE),
                stop=stop,
                report=self._report_until(stop),
                notice=notice,
            )

        return run(main)

    def _report_until(self, stop: asyncio.Event) -> Report:
        line = counts_line(self.format)

        async def report(counts: Sequence[FilterCounts]) -> None:
            await write_lines(map(line, counts), stop)

        return report


def _require_no_circle(topic: str, filters: Sequence[AlertFilter]) -> None:
    from alertstream.kafka.topics import topic_pattern

    for each in filters:
        if topic_pattern([topic]).match(each.topic):
            raise UsageError(
                f"the output topic {each.topic} is also an input",
                where=topic,
                todo="read other topics, or choose another name",
            )
