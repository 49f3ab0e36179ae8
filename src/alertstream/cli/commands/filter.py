"""``alertstream filter``: the options, and filtering a topic with one process or several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from alertstream.cli.commands.without_kafka.filter import (
    list_filters,
    parse_guard,
    try_filters,
    write_template,
)
from alertstream.cli.options.completion import complete_filters
from alertstream.cli.options.metrics import MetricsOptions
from alertstream.cli.options.mirror import MirrorOptions
from alertstream.cli.options.reading import ReadingOptions
from alertstream.cli.options.schemas import ThinOptions
from alertstream.cli.options.selection import SelectionOptions, require_declared
from alertstream.cli.options.shared import (
    FormatOptions,
    WorkerOptions,
    broker_argument,
    option_group,
    topic_argument,
)
from alertstream.cli.terminal.output import (
    DONE,
    UNDECODABLE,
    Output,
    as_json,
    notice,
    write_line,
    write_lines,
)
from alertstream.errors import AlertStreamError, UsageError

if TYPE_CHECKING:
    import asyncio

    from alertstream.avro.schemas import Schemas
    from alertstream.filtering.account import FilterCounts
    from alertstream.filtering.filters import AlertFilter
    from alertstream.filtering.pipeline import FilterOptions
    from alertstream.kafka.connection import Connection

CAP = 20
"""Alerts per visit that each of the template's filters passes."""

_filters = option_group("Filters")
_without_kafka = option_group("Without Kafka")


@dataclass(frozen=True, kw_only=True)
class Filter(
    ReadingOptions,
    MirrorOptions,
    ThinOptions,
    WorkerOptions,
    FormatOptions,
    SelectionOptions,
    MetricsOptions,
):
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
    output: str | None = _filters(None, "Topic that gets what --where or --all passes.", "TOPIC")
    cap: int | None = _filters(
        None,
        "Maximum alerts per visit and filter; 0: no limit. Default: 20 for the numbered filters, "
        "no limit with --where or --filters.",
        "N",
        min=0,
    )
    new_filters_from: Literal["latest", "earliest"] = _filters(
        "latest",
        "Where a filter that is new to its group starts: latest, where the group is; or earliest.",
        "WHERE",
    )
    unique: bool = _filters(False, "Pass each source id once only.", names=("--unique",))
    delivery: Literal["exactly-once", "at-least-once"] = _filters(
        "exactly-once", "exactly-once or at-least-once.", "HOW"
    )
    list_: bool = _without_kafka(False, "List the filters.", names=("--list",))
    dry_run: Path | None = _without_kafka(
        None, "Try filters on a container file, or a folder of them, and write nothing.", "PATH"
    )
    guard: str | None = _without_kafka(
        None, "With --dry-run: exit 1 if more than this passes, as in 5% or 0.05.", "SHARE"
    )
    picture: Path | None = _without_kafka(
        None, "With --dry-run: draw what passes on the sky, and how bright it is.", "FILE.png"
    )
    new: str | None = _without_kafka(None, "Write a template for a filter of this name.", "CLASS")

    def run(self) -> int:
        """List, create or try filters, or filter a topic."""
        if self.list_ + (self.dry_run is not None) + (self.new is not None) > 1:
            raise UsageError("--list, --dry-run and --new exclude each other", todo="give one")
        if (self.list_ or self.new is not None) and (names := self._names()):
            raise UsageError("--list and --new take no FILTER", where=names[0], todo="omit it")
        for name, given in (("--guard", self.guard), ("--picture", self.picture)):
            if given is not None and self.dry_run is None:
                raise UsageError(f"{name} belongs to --dry-run", todo="give both, or neither")
        if self.list_:
            list_filters(self.filters or (), json=self.format == "json")
            return DONE
        if self.new is not None:
            write_template(self.new)
            return DONE
        if self.dry_run is not None and not self.all_:
            return self._try(self.dry_run)
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
            what = "--dry-run takes no BROKER and TOPIC"
            raise UsageError(what, where=names[0], todo="leave them out")
        return names

    def _chosen(self, names: Sequence[str], output: str | None) -> list[AlertFilter]:
        """Return the filters that the command line names, at least one."""
        from alertstream.filtering.expression import WhereFilter
        from alertstream.filtering.filters import choose_filters

        chosen = choose_filters(names, self.filters or ())
        if self.where is not None and output is not None:
            chosen.append(WhereFilter(self.where, output))
        if not chosen:
            todo = "give its number or class, as in: 1, or 1-100"
            raise UsageError("no filter is named", todo=todo)
        return chosen

    @property
    def _cap(self) -> int:
        """Alerts per visit and filter; 0 is no limit, the default for users' own filters."""
        if self.cap is not None:
            return self.cap
        return 0 if self.all_ or self.filters or self.where is not None else CAP

    @property
    def _undecoded(self) -> bool:
        """Whether alerts pass without being decoded."""
        return self.all_ and self.visit is None and not self.unique

    def _line(self, counts: FilterCounts) -> str:
        if self.format == "json":
            return as_json(counts.as_json())
        rate = f", {counts.rate:,.0f} alerts/s" if self.all_ and counts.final else ""
        return f"{counts.as_line()}{rate}"

    def _write_totals(self, totals: Iterable[FilterCounts]) -> None:
        for counts in totals:
            write_line(self._line(counts))

    def _visit_lines(self, counts: Iterable[FilterCounts]) -> Iterator[str]:
        """Yield a line for each visit; in JSON, for each filter and visit."""
        from alertstream.filtering.account import visit_lines

        if self._undecoded and self.format == "text":
            # Without decoding, the visit is unknown.
            return (f"{each.filter}  {each.seen} seen = {each.parts}" for each in counts)
        return map(self._line, counts) if self.format == "json" else visit_lines(counts)

    def _try(self, path: Path) -> int:
        from alertstream.filtering.pipeline import FilterOptions

        guard = None if self.guard is None else parse_guard(self.guard)
        filters, schemas = self._chosen(self._names(), self.output or "where"), self.known_schemas()
        wanted, json = FilterOptions(filters, self._cap, unique=self.unique), self.format == "json"
        return try_filters(
            path, wanted, schemas, self._visit_lines, json=json, guard=guard, picture=self.picture
        )

    def _filter(self) -> int:
        """Filter a topic, in this process, which may be a worker, or with workers."""
        from alertstream.cli.event_loop import run, stop_with_input
        from alertstream.cli.instance_name import instance_name
        from alertstream.cli.terminal.progress import reading_progress
        from alertstream.cli.workers import figures_told, filter_with_workers, worker_command
        from alertstream.filtering.account import FilterAccount
        from alertstream.filtering.filters import group_name
        from alertstream.filtering.pipeline import open_pipeline
        from alertstream.kafka.admin import is_same_cluster, require_topics
        from alertstream.monitoring.figures import filter_figures

        connection, to, schemas, filters = self._prepared()
        wanted = self._wanted(filters, schemas)
        group = group_name(self.topic, self.filters or (), self.output)
        if self.all_:
            group = self.mirror_group(self.topic, self.output)
        name = self.group_or(group) or group

        async def prepare() -> None:
            if to is not None and _circle(self.topic, filters):
                # A cluster has several addresses, which must not hide that it is the same.
                _require_no_circle(self.topic, filters, await is_same_cluster(connection, to))
            await self.notice_start(connection, subscription, to)

        async def alone(stop: asyncio.Event) -> list[FilterCounts]:
            if self.worker:
                stop_with_input(stop)
            else:
                await prepare()
            write, told = Output(stop).write, self.worker and self.metrics_port is not None
            with reading_progress(always=self.all_) as progress:
                async with (
                    figures_told(write) if told else self.serving() as served,
                    open_pipeline(
                        connection,
                        subscription,
                        wanted,
                        schemas,
                        to=to,
                        stop=stop,
                        notice=notice,
                        report=lambda counts: write(self._visit_lines(counts)),
                        progress=progress,
                    ) as pipeline,
                ):
                    served.figures = partial(filter_figures, pipeline)
                    served.unready = pipeline.consumer.unready
                    try:
                        return await pipeline.run()
                    except AlertStreamError:
                        self._write_totals(pipeline.account.totals())
                        raise

        async def together(stop: asyncio.Event) -> list[FilterCounts]:
            partitions = sum((await require_topics(connection, [self.topic])).values())
            await prepare()
            count = min(self.workers, partitions or self.workers)
            if count < self.workers:
                notice(f"{self.topic} has partitions for only {count} of {self.workers} workers")
            async with self.serving() as served:
                return await filter_with_workers(
                    [worker_command("--rate", str(wanted.rate / count))] * count,
                    FilterAccount(wanted.topics),
                    served,
                    went_well=(DONE, UNDECODABLE),
                    stop=stop,
                    report=lambda counts: write_lines(self._visit_lines(counts), stop),
                    notice=notice,
                )

        work = alone if self.workers == 1 else together
        with instance_name(name) if work is alone else nullcontext() as instance:
            subscription = self.subscription(self.topic, group=group, instance=instance)
            totals = run(work)
        self._write_totals(totals)
        if failed := [each.filter for each in totals if each.failed]:
            more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
            notice(f"alerts failed, and are not in the topic of {failed[0]}{more}: see above why")
        return UNDECODABLE if failed or any(each.undecodable for each in totals) else DONE

    def _wanted(self, filters: Sequence[AlertFilter], schemas: Schemas) -> FilterOptions:
        from alertstream.filtering.pipeline import FilterOptions

        return FilterOptions(
            filters,
            self._cap,
            exactly_once=self.delivery == "exactly-once",
            unique=self.unique,
            without=self.fields_without(schemas),
            rate=self.bounded_rate(),
            new_from_beginning=self.new_filters_from == "earliest",
        )

    def _prepared(self) -> tuple[Connection, Connection | None, Schemas, list[AlertFilter]]:
        """Return the Kafka to read, the one to write to if it is another, schemas and filters.

        :raises UsageError: options, or names of filters or fields, are not valid.
        """
        from alertstream.avro.schemas import Schemas

        source = self.context.get_parameter_source("cap")
        cap = self.cap if source and source.name == "COMMANDLINE" else None
        excluded = {
            **{"FILTER": self.filter, "--filters": self.filters, "--where": self.where},
            **{"--cap": cap, "--dry-run": self.dry_run},
        }
        mirror = self.mirror(self.topic, self.output, excluded) if self.all_ else None
        for name, given in (("BROKER", self.broker), ("TOPIC", self.topic)):
            if not given:
                raise UsageError(
                    f"Missing argument '{name}'.", todo="see alertstream filter --help"
                )
        if not mirror and self.visit is not None:
            todo = f"for a filter, write it as in: --where 'visit == {self.visit} and snr > 5'"
            raise UsageError("--visit belongs to --all", todo=todo)
        if not mirror and (self.where is None) != (self.output is None):
            raise UsageError("--where and --output belong together", todo="give both, or --all")
        connection, to = self.connection(), self.target()
        needed = self.without is not None or not self._undecoded
        schemas = self.known_schemas() if needed else Schemas()
        chosen = self._chosen(self.filter or (), self.output) if mirror is None else [mirror]
        _require_no_circle(self.topic, chosen, to is None or to.bootstrap == connection.bootstrap)
        require_declared(chosen, schemas)
        return connection, to, schemas, chosen


def _circle(topic: str, filters: Sequence[AlertFilter]) -> str:
    """Return an output topic that is also read; empty if there is none."""
    from alertstream.kafka.topics import topic_pattern

    pattern = topic_pattern([topic])
    return next((each.topic for each in filters if pattern.match(each.topic)), "")


def _require_no_circle(topic: str, filters: Sequence[AlertFilter], same_kafka: bool) -> None:
    output = _circle(topic, filters)
    if output and same_kafka:
        raise UsageError(
            f"the output topic {output} is also an input",
            where=topic,
            todo="read other topics, or choose another name, such as with --output",
        )
