"""``alertstream filter`` on the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alertstream.cli import options
from alertstream.cli.completion import complete_filters, complete_where
from alertstream.cli.option_groups import choice, group, worker_command
from alertstream.cli.options import notice_start
from alertstream.cli.parameters import TOPIC_OR_PATTERN, Format
from alertstream.cli.terminal.output import (
    DONE,
    FAILED,
    UNDECODABLE,
    as_json,
    notice,
    write_error,
    write_line,
    write_lines,
)
from alertstream.errors import UsageError

if TYPE_CHECKING:
    from alertstream.avro.schemas import Schema, Schemas
    from alertstream.filtering.account import FilterCounts
    from alertstream.filtering.engine import FilterOptions
    from alertstream.filtering.filters import AlertFilter
    from alertstream.filtering.pipeline import Report
    from alertstream.kafka.connection import Connection


def filter_(
    *,
    connection: Connection | None = group(options.connection),
    topic: Annotated[str | None, TOPIC_OR_PATTERN],
    filter: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILTER",
            help="Numbers (1), ranges (1-100), class names; default: all of FILE.",
            autocompletion=complete_filters,
        ),
    ] = None,
    filters: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Python file with filters, which is run; repeatable."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="EXPRESSION",
            help="Filter, as in: diaSource.snr > 5 and band == 'g'",
            autocompletion=complete_where,
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="Where --where sends to.")
    ] = None,
    cap: Annotated[int, typer.Option(min=0, help="Alerts per visit and filter; 0: no limit.")] = 20,
    delivery: Annotated[
        str,
        choice("delivery", ("exactly-once", "at-least-once")),
    ] = "exactly-once",
    sharing: options.Sharing = group(options.sharing, shared=False),
    list_: Annotated[
        bool, typer.Option("--list", help="Show the filters there are; without BROKER and TOPIC.")
    ] = False,
    dry_run: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Try filters on a container file, or a folder of them, and write nothing; "
            "without BROKER and TOPIC.",
        ),
    ] = None,
    new: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS", help="Write a filter to begin with; without BROKER and TOPIC."
        ),
    ] = None,
    reading: options.Reading = group(options.reading),
    schemas: Schemas = group(options.schemas),
    format: Format = "text",
) -> int:
    """Cut a topic down: what a filter lets through goes to the topic of its name.

    Example: alertstream filter localhost:9092 alerts 1-3 --exit-on-eof
    """
    if list_ + (dry_run is not None) + (new is not None) > 1:
        raise UsageError("--list, --dry-run and --new exclude each other", todo="give one of them")
    if (list_ or new is not None) and filter:
        raise UsageError("--list and --new take no FILTER", where=filter[0], todo="leave it out")
    if list_:
        return _list_filters(filters or (), format)
    if new is not None:
        return _write_filter(new)
    if dry_run is not None:
        if filter and ":" in filter[0]:
            raise UsageError(
                "--dry-run takes no BROKER and TOPIC", where=filter[0], todo="leave them out"
            )
        chosen = _chosen_filters(filter or (), filters or (), where, output or "where")
        return _dry_run(dry_run, chosen, cap, schemas, format)
    # The command line has seen to that.
    assert connection is not None and topic is not None

    from alertstream.filtering.engine import FilterOptions
    from alertstream.filtering.filters import group_name

    if (where is None) != (output is None):
        raise UsageError("--where and --output belong together", todo="give both, or none")
    chosen = _chosen_filters(filter or (), filters or (), where, output)
    _require_no_circle(topic, chosen)
    _require_fields(chosen, schemas)
    wanted = FilterOptions(chosen, cap)
    member = _Member(
        *(connection, topic, reading.group_or(group_name(chosen)), reading, wanted, schemas),
        exactly_once=delivery == "exactly-once",
        is_worker=sharing.is_worker,
        line=_counts_line(format),
    )
    totals = member.filter() if sharing.workers == 1 else member.filter_with(sharing.workers)
    for counts in totals:
        write_line(member.line(counts))
    return UNDECODABLE if any(each.undecodable or each.failed for each in totals) else DONE


@dataclass(frozen=True)
class _Member:
    """A member of a group that filters, or several that are workers."""

    connection: Connection
    topic: str
    group: str
    reading: options.Reading
    wanted: FilterOptions
    schemas: Schemas
    exactly_once: bool
    is_worker: bool
    line: Callable[[FilterCounts], str]

    def filter(self) -> list[FilterCounts]:
        """Filter in this process; return each filter's counts of all visits."""
        from alertstream.cli.event_loop import ending_with_input, instance_name, run
        from alertstream.cli.terminal import progress as screen
        from alertstream.filtering.engine import Sieve
        from alertstream.filtering.pipeline import filter_topics
        from alertstream.sending.schedule import WallClock

        async def main(stop: asyncio.Event) -> list[FilterCounts]:
            sieve = Sieve(self.wanted, self.schemas, WallClock(), notice)
            async with ending_with_input(stop) if self.is_worker else nullcontext():
                if not self.is_worker:
                    await notice_start(self.connection, subscription, self.reading)
                with screen.reading_progress() as progress:
                    return await filter_topics(
                        *(self.connection, subscription, sieve),
                        exactly_once=self.exactly_once,
                        stop=stop,
                        report=self._report_until(stop),
                        progress=progress,
                    )

        with instance_name(self.group) as instance:
            subscription = self.reading.subscription((self.topic,), self.group, instance)
            return run(main)

    def filter_with(self, count: int) -> list[FilterCounts]:
        """Filter in so many processes; return each filter's counts of all visits."""
        from alertstream.cli.event_loop import run
        from alertstream.cli.workers import filter_with_workers
        from alertstream.filtering.account import FilterAccount
        from alertstream.kafka.admin import require_topics

        async def main(stop: asyncio.Event) -> list[FilterCounts]:
            partitions = sum((await require_topics(self.connection, [self.topic])).values())
            subscription = self.reading.subscription((self.topic,), self.group)
            await notice_start(self.connection, subscription, self.reading)
            if 0 < partitions < count:
                notice(f"{self.topic} has partitions for {partitions} of {count} workers only")
            return await filter_with_workers(
                lambda _: worker_command(),
                min(count, partitions or count),
                FilterAccount([each.topic for each in self.wanted.filters]),
                stop=stop,
                report=self._report_until(stop),
                notice=notice,
            )

        return run(main)

    def _report_until(self, stop: asyncio.Event) -> Report:
        async def report(counts: Sequence[FilterCounts]) -> None:
            await write_lines(map(self.line, counts), stop)

        return report


def _require_no_circle(topic: str, filters: Sequence[AlertFilter]) -> None:
    from alertstream.kafka.admin import topic_pattern

    for each in filters:
        if topic_pattern([topic]).match(each.topic):
            raise UsageError(
                f"what passes {each.topic} would come back to it",
                where=topic,
                todo="choose other topics to read, or another name",
            )


def _chosen_filters(
    names: Sequence[str], files: Sequence[Path], where: str | None, output: str | None
) -> list[AlertFilter]:
    """Return the filters that the command line means, at least one."""
    from alertstream.filtering.expression import WhereFilter
    from alertstream.filtering.filters import choose_filters

    chosen = choose_filters(names, files)
    if where is not None and output is not None:
        chosen.append(WhereFilter(where, output))
    if not chosen:
        raise UsageError("no filter is named", todo="give its number or class, as in: 1, or 1-100")
    return chosen


def _require_fields(
    filters: Sequence[AlertFilter], schemas: Schemas, more: Sequence[Schema] = ()
) -> None:
    from alertstream.alert.fields import require_fields

    for each in filters:
        require_fields(each.fields or (), schemas, more, where=each.declared_in)


def _list_filters(files: Sequence[Path], format: str) -> int:
    from alertstream.cli.terminal import progress as screen
    from alertstream.filtering.filters import TEMPLATES, TemplateFilter, choose_filters

    first, last = "Filter001", f"Filter{TEMPLATES:03}"
    own = choose_filters((), files)
    there = [
        (f"{first} … {last}", TemplateFilter()),
        *((type(each).__name__, each) for each in own),
    ]
    for name, each in there:
        if format == "text":
            write_line(screen.description_line(name, each))
            continue
        fields = None if each.fields is None else list(each.fields)
        about = {"filter": name.replace(" … ", "-"), "description": each.description}
        write_line(as_json({**about, "fields": fields}))
    return DONE


def _write_filter(name: str) -> int:
    from alertstream.filtering.template import write_filter

    path = write_filter(name, Path())
    write_line(str(path))
    notice(f"now: pytest {path}, and: alertstream filter --dry-run ALERTS.avro --filters {path}")
    return DONE


def _dry_run(
    path: Path, filters: Sequence[AlertFilter], cap: int, schemas: Schemas, format: str
) -> int:
    from alertstream.alert.text import heading
    from alertstream.cli.event_loop import run
    from alertstream.cli.terminal import progress as screen
    from alertstream.filtering.engine import FilterOptions, Sieve
    from alertstream.local import dry_run as rehearsal
    from alertstream.printing.printer import PrintOptions
    from alertstream.sending.schedule import WallClock, visits_in

    files = [file for visit in visits_in([path]) for file in visit.files]
    _require_fields(filters, schemas, rehearsal.schemas_of(files))
    sieve = Sieve(FilterOptions(filters, cap), schemas, WallClock(), notice)
    printed = PrintOptions(look=screen.look())
    with screen.share_progress("trying filters") as progress:
        found = run(
            lambda stop: rehearsal.rehearse(
                files, sieve, stop=stop, notice=notice, progress=progress, printed=printed
            )
        )
    line = _counts_line(format)
    for counts in found.counts:
        write_line(line(counts))
    for topic, lines in found.first.items() if format == "text" else ():
        if lines:
            write_line(f"\nthe first that pass {topic}\n{heading(printed.look)}")
        for shown in lines:
            write_line(shown)
    notice(screen.time_line(found))
    for each in filters:
        if each.fields is None:
            notice(f"{type(each).__name__} {screen.NO_FIELDS}")
    if found.error:
        write_error(found.error)
        return FAILED
    return UNDECODABLE if found.incomplete else DONE


def _counts_line(format: str) -> Callable[[FilterCounts], str]:
    if format == "text":
        return lambda counts: counts.as_line()
    return lambda counts: as_json(counts.as_json())
