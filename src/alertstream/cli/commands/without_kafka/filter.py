"""What ``alertstream filter`` does without Kafka: list filters, write one, try them on files."""

from __future__ import annotations

import re
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
    write_lines,
)
from alertstream.errors import AlertStreamError, UsageError

if TYPE_CHECKING:
    from alertstream.avro.schemas import Schemas
    from alertstream.filtering.account import FilterCounts
    from alertstream.filtering.pipeline import FilterOptions
    from alertstream.local.pass_rates import PassRates

NO_FIELDS = "decodes whole alerts: it is many times faster with fields, which names what it needs"
"""Notice about a filter without ``fields``."""


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


def parse_guard(text: str) -> float:
    """Return the share that ``5%`` or ``0.05`` stands for.

    :raises UsageError: it is invalid, or ambiguous, as 1.
    """
    number = re.fullmatch(r"(\d+\.?\d*|\.\d+)(%?)", text)
    share = float(number[1]) / (100 if number[2] else 1) if number else 2
    if not number or share > 1 or (share == 1 and not number[2]):
        raise UsageError(f"{text} is not a valid --guard", todo="give a share such as 5% or 0.05")
    return share


def try_filters(
    path: Path,
    wanted: FilterOptions,
    schemas: Schemas,
    lines: Callable[[Iterable[FilterCounts]], Iterable[str]],
    *,
    json: bool,
    guard: float | None,
    picture: Path | None,
) -> int:
    """Show which of files' alerts pass filters, the shares, and the time per alert.

    :param lines: yields the account's lines.
    :param guard: the share of the alerts above which it fails.
    :param picture: the file that gets a picture of what passes.
    :raises UsageError: no schema has a field that a filter declares, or pictures are not possible.
    :raises DataError: a file is not a container file, or the picture cannot be written.
    """
    from alertstream.cli.event_loop import run
    from alertstream.cli.terminal.look import look, picture_drawing
    from alertstream.cli.terminal.progress import share_progress
    from alertstream.local.dry_run import dry_run, schemas_of
    from alertstream.local.pass_rates import guard_violation
    from alertstream.printing.lines import LineFormat
    from alertstream.sending.visits.schedule import files_of, visits_in
    from alertstream.system.files import write_whole, writing

    draw = _drawing(picture) if picture else None
    files = files_of(visits_in([path]))
    require_declared(wanted.filters, schemas, schemas_of(files))
    with share_progress("trying filters") as progress:
        found = run(
            lambda stop: dry_run(
                files, wanted, schemas, stop=stop, notice=notice, progress=progress
            )
        )
    rates, counts = found.rates, found.counts
    told = (as_json(rates.as_json(each)) for each in counts) if json else lines(counts)
    for line in (*told, *(() if json else rates.lines(counts))):
        write_line(line)
    if picture and draw:
        title = (
            f"what passes {wanted.topics[0] if len(wanted.topics) == 1 else 'any of the filters'}"
        )
        png = draw(rates, title)
        with writing(picture, what="the picture", option="--picture"):
            notice(f"{write_whole(picture, png)} shows {title}")
    if not json:
        shown = LineFormat(look=look())
        painted = [show(png)] if picture and draw and (show := picture_drawing()) else []
        for topic, first in found.first_lines(schemas, shown).items():
            if first:
                painted += ["", f"the first that pass {topic}", *shown.heading(), *first]
        run(lambda stop: write_lines(painted, stop, painted=True))
    notice(found.time_line)
    for each in wanted.filters:
        if each.fields is None:
            notice(f"{type(each).__name__} {NO_FIELDS}")
    if found.error:
        write_error(found.error)
        return FAILED
    if guard is not None and (why := guard_violation(found.counts, guard)):
        todo = "change the filter, or raise the guard"
        write_error(AlertStreamError(why, where=f"--guard {100 * guard:g}%", todo=todo))
        return FAILED
    return UNDECODABLE if found.incomplete else DONE


def _drawing(path: Path) -> Callable[[PassRates, str], bytes]:
    """Return a function that draws the picture; errors come before the work begins."""
    if path.suffix.lower() != ".png":
        todo = "name it FILE.png"
        raise UsageError("a picture of what passes is a PNG file", where=str(path), todo=todo)
    from alertstream.local.chart import chart

    return chart
