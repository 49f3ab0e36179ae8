"""What ``alertstream filter`` does without Kafka: list filters, write one, try them on files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alertstream.cli.options.selection import require_declared
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
    from alertstream.avro.schemas import Schemas
    from alertstream.filtering.account import FilterCounts
    from alertstream.filtering.pipeline import FilterOptions

NO_FIELDS = "decodes whole alerts: it is many times faster with fields, which names what it needs"
"""What is said of a filter that does not declare what it needs."""


def list_filters(files: Sequence[Path], *, json: bool) -> None:
    """List the template's filters and those of files.

    :raises FilterError: a file cannot be run, or defines no filter.
    """
    from alertstream.filtering.filters import TEMPLATES, TemplateFilter, choose_filters

    templates = f"Filter001 … Filter{TEMPLATES:03}"
    own = choose_filters((), files) if files else []
    named = [(templates, TemplateFilter()), *((type(each).__name__, each) for each in own)]
    for name, each in named:
        fields = None if each.fields is None else list(each.fields)
        if json:
            about = {"filter": name.replace(" … ", "-"), "description": each.description}
            write_line(as_json({**about, "fields": fields}))
        else:
            needs = NO_FIELDS if fields is None else f"fields: {', '.join(fields) or 'none'}"
            write_line(f"{name}  {each.description or 'without a docstring'} · {needs}")


def write_template(name: str) -> None:
    """Write a filter to start from into the current folder.

    :raises UsageError: a filter cannot have this name.
    :raises FilterError: the file exists already, or cannot be written.
    """
    from alertstream.filtering.template import write_filter

    path = write_filter(name, Path())
    write_line(str(path))
    notice(f"now: pytest {path}, and: alertstream filter --dry-run ALERTS.avro --filters {path}")


def try_filters(
    path: Path,
    wanted: FilterOptions,
    schemas: Schemas,
    lines: Callable[[Iterable[FilterCounts]], Iterable[str]],
    *,
    json: bool,
) -> int:
    """Show what filters do with the alerts of files, and how long it takes.

    :param lines: yields those of the account.
    :raises UsageError: no schema has a field that a filter declares.
    :raises DataError: a file is not a container file.
    """
    from alertstream.cli.event_loop import run
    from alertstream.cli.terminal.look import look
    from alertstream.cli.terminal.progress import share_progress
    from alertstream.local.dry_run import dry_run, schemas_of
    from alertstream.printing.lines import LineFormat
    from alertstream.sending.visits.schedule import files_of, visits_in

    files = files_of(visits_in([path]))
    require_declared(wanted.filters, schemas, schemas_of(files))
    with share_progress("trying filters") as progress:
        found = run(
            lambda stop: dry_run(
                files, wanted, schemas, stop=stop, notice=notice, progress=progress
            )
        )
    for line in lines(found.counts):
        write_line(line)
    if not json:
        shown = LineFormat(look=look())
        for topic, first in found.first_lines(schemas, shown).items():
            if first:
                heading = ["", f"the first that pass {topic}", *shown.heading()]
                write_line("\n".join([*heading, *first]))
    notice(found.time_line)
    for each in wanted.filters:
        if each.fields is None:
            notice(f"{type(each).__name__} {NO_FIELDS}")
    if found.error:
        write_error(found.error)
        return FAILED
    return UNDECODABLE if found.incomplete else DONE
