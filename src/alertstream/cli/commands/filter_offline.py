"""``alertstream filter`` without Kafka: ``--list``, ``--new`` and ``--dry-run``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alertstream.cli.terminal.output import (
    DONE,
    FAILED,
    UNDECODABLE,
    as_json,
    notice,
    write_error,
    write_line,
)

if TYPE_CHECKING:
    from alertstream.avro.schemas import Schema, Schemas
    from alertstream.filtering.account import FilterCounts
    from alertstream.filtering.filters import AlertFilter
    from alertstream.local.dry_run import DryRun

NO_FIELDS = "decodes whole alerts: it is many times faster with fields, which names what it needs"
"""What is said of a filter that does not declare what it needs."""


def require_fields_of(
    filters: Sequence[AlertFilter], schemas: Schemas, more: Sequence[Schema] = ()
) -> None:
    """Check that schemas have the fields that filters declare.

    :param more: schemas that are known besides.
    :raises UsageError: none has one of them.
    """
    from alertstream.alert.fields import require_fields

    for each in filters:
        require_fields(each.fields or (), schemas, more, where=each.declared_in)


def counts_line(format: str) -> Callable[[FilterCounts], str]:
    """Return what makes a line of a filter's counts."""
    if format == "text":
        return lambda counts: counts.as_line()
    return lambda counts: as_json(counts.as_json())


def list_filters(files: Sequence[Path], format: str) -> int:
    """List the template's filters and those of files."""
    from alertstream.filtering.filters import TEMPLATES, TemplateFilter, choose_filters

    templates = f"Filter001 … Filter{TEMPLATES:03}"
    own = [(type(each).__name__, each) for each in choose_filters((), files)] if files else []
    for name, each in [(templates, TemplateFilter()), *own]:
        fields = None if each.fields is None else list(each.fields)
        if format == "json":
            about = {"filter": name.replace(" … ", "-"), "description": each.description}
            write_line(as_json({**about, "fields": fields}))
        else:
            needs = NO_FIELDS if fields is None else f"fields: {', '.join(fields) or 'none'}"
            write_line(f"{name}  {each.description or 'without a docstring'} · {needs}")
    return DONE


def write_new_filter(name: str) -> int:
    """Write a filter to start from into the current folder."""
    from alertstream.filtering.template import write_filter

    path = write_filter(name, Path())
    write_line(str(path))
    notice(f"now: pytest {path}, and: alertstream filter --dry-run ALERTS.avro --filters {path}")
    return DONE


def dry_run(
    path: Path, filters: Sequence[AlertFilter], cap: int, schemas: Schemas, format: str
) -> int:
    """Show what filters do with the alerts of files, and how long it takes."""
    from alertstream.cli.event_loop import run
    from alertstream.cli.terminal.look import look
    from alertstream.cli.terminal.progress import share_progress
    from alertstream.local import dry_run as trial
    from alertstream.printing.lines import LineFormat
    from alertstream.sending.schedule import visits_in

    files = [file for visit in visits_in([path]) for file in visit.files]
    require_fields_of(filters, schemas, trial.schemas_of(files))
    with share_progress("trying filters") as progress:
        found = run(
            lambda stop: trial.dry_run(
                files, filters, cap, schemas, stop=stop, notice=notice, progress=progress
            )
        )
    line = counts_line(format)
    for counts in found.counts:
        write_line(line(counts))
    if format == "text":
        shown = LineFormat(look=look())
        for topic, lines in found.first_lines(schemas, shown).items():
            if lines:
                write_line(
                    "\n".join(["", f"the first that pass {topic}", *shown.heading(), *lines])
                )
    notice(_time_line(found))
    for each in filters:
        if each.fields is None:
            notice(f"{type(each).__name__} {NO_FIELDS}")
    if found.error:
        write_error(found.error)
        return FAILED
    return UNDECODABLE if found.incomplete else DONE


def _time_line(found: DryRun) -> str:
    """Return how long decoding an alert and running all filters took."""
    if found.timing.alerts:
        each = found.timing.seconds / found.timing.alerts
        return f"{each * 1e6:,.0f} µs per alert to decode it and run all filters"
    if found.setup.alerts:
        each = found.setup.seconds / found.setup.alerts
        return f"{each * 1e6:,.0f} µs per alert, mostly to set up decoding, as they are so few"
    return "no alerts"
