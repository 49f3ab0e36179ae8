"""What people see in a terminal: progress bars, and tables of figures."""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from alertstream.alert.light_curve import BAND_COLOURS
from alertstream.alert.text import PLAIN, Look, Paint
from alertstream.cli.terminal.output import end_waiting, is_quiet
from alertstream.errors import UsageError

if TYPE_CHECKING:
    from alertstream.alert.pictures import Triplet
    from alertstream.filtering.filters import AlertFilter
    from alertstream.kafka.consumer import Progress as ReadingProgress
    from alertstream.local.demo import DemoSummary
    from alertstream.local.doctor import Finding
    from alertstream.local.dry_run import Rehearsal
    from alertstream.sending.sender import VisitSent

WIDEST = 98
"""Columns that an alert's cutouts take at most."""
NO_FIELDS = (
    "takes the whole alert: it is many times faster with fields, which names what it looks at"
)


def error_console() -> Console:
    """Return the console for everything that is not data."""
    return Console(stderr=True, highlight=False)


def _bars(*columns: str | ProgressColumn) -> Progress:
    end_waiting()
    console = error_console()
    return Progress(
        *columns,
        console=console,
        transient=True,
        disable=is_quiet() or not console.is_terminal,
        # What is written to standard output would be shown with the bars, and go to no file.
        redirect_stdout=sys.stdout.isatty(),
    )


@contextmanager
def send_progress() -> Iterator[Callable[[VisitSent, float], None]]:
    """Show a bar for each visit as it is sent; nothing where there is no terminal."""
    alerts = "{task.percentage:3.0f} %  {task.fields[alerts]} alerts"
    with _bars("{task.description}", BarColumn(), alerts, TimeElapsedColumn()) as bars:
        bar = bars.add_task("", total=1.0, alerts=0, visible=False)

        def show(visit: VisitSent, share: float) -> None:
            name, done = f"visit {visit.visit}", visit.acknowledged
            bars.update(bar, description=name, completed=share, alerts=done, visible=share < 1)

        yield show


@contextmanager
def fetch_progress() -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar while the files of the local Kafka are fetched."""
    with _bars("fetching Kafka", BarColumn(), "{task.fields[name]}") as bars:
        bar = bars.add_task("", total=None, visible=False, name="")

        def show(done: int, total: int, name: str) -> None:
            bars.update(bar, completed=done, total=total, name=name, visible=done < total)

        yield show


@contextmanager
def simulate_progress(total: int, per_visit: int) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while visits are made up."""
    columns = ("simulating", BarColumn(), "{task.completed} alerts", TimeRemainingColumn())
    with _bars(*columns) as bars:
        bar = bars.add_task("", total=total)
        yield lambda visit, done: bars.update(bar, completed=visit * per_visit + done)


@contextmanager
def share_progress(text: str) -> Iterator[Callable[[float], None]]:
    """Show a bar that takes how much is done, 0 to 1."""
    with _bars(text, BarColumn(), "{task.percentage:3.0f} %", TimeRemainingColumn()) as bars:
        bar = bars.add_task("", total=1.0)
        yield lambda share: bars.update(bar, completed=share)


@contextmanager
def reading_progress() -> Iterator[ReadingProgress]:
    """Show a bar from the first messages on, if what comes of them is not seen: goes to a file."""
    if not _is_file(sys.stdout):
        yield lambda came, left: None
        return
    bars: Progress | None = None
    done = 0

    def show(came: int, left: int | None) -> None:
        nonlocal bars, done
        if bars is None:
            columns = ("reading", BarColumn(), "{task.completed} alerts", TimeRemainingColumn())
            bars = stack.enter_context(_bars(*columns))
            bars.add_task("", total=None)
        done += came
        total = None if left is None else done + left
        bars.update(bars.task_ids[0], completed=done, total=total)

    with ExitStack() as stack:
        yield show


def _is_file(stream: TextIO) -> bool:
    """Return whether a stream goes to a file, or nowhere; another program may show what it gets."""
    mode = os.fstat(stream.fileno()).st_mode
    return stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not stream.isatty())


def look() -> Look:
    """Return how text looks on standard output: within its width, and in its colours."""
    console = Console(file=sys.stdout, highlight=False)
    width = console.width if sys.stdout.isatty() else 0
    if console.color_system is None or console.no_color:
        return Look(width) if width else PLAIN
    dark = _is_dark()
    colours = {band: on[1] if dark else on[0] for band, on in BAND_COLOURS.items()}
    text = "black" if dark else "white"
    mark = _paint(console, {band: f"{text} on {colour}" for band, colour in colours.items()})
    return Look(width, mark, _paint(console, colours))


def _is_dark() -> bool:
    """Return whether the terminal's background is dark, as far as the terminal tells."""
    return os.environ.get("COLORFGBG", "").rpartition(";")[2] not in ("7", "15")


def _paint(console: Console, styles: dict[str, str]) -> Paint:
    around = {}
    for band, style in styles.items():
        before, _, after = _rendered(console, Text("x", style)).partition("x")
        around[band] = (before, after)

    def paint(text: str, band: str) -> str:
        before, after = around.get(band, ("", ""))
        return f"{before}{text}{after}"

    return paint


def finding_line(found: Finding) -> str:
    """Return what ``doctor`` has found out about one thing, in a line."""
    mark = {True: "ok", False: "BAD", None: "-"}[found.good]
    todo = f" · {found.todo}" if found.todo else ""
    return f"{mark:4}{found.name:10}{found.what}{todo}"


def description_line(name: str, each: AlertFilter) -> str:
    """Return what a filter says of itself in a line."""
    fields = NO_FIELDS if each.fields is None else f"fields: {', '.join(each.fields) or 'none'}"
    return f"{name}  {each.description or 'without a docstring'} · {fields}"


def time_line(found: Rehearsal) -> str:
    """Return how long decoding and judging an alert took, by all filters together, in a line."""
    if found.timed:
        each = found.seconds / found.timed
        return f"{each * 1e6:,.0f} µs an alert, to decode it and run all filters"
    if found.prepared:
        each = found.preparing / found.prepared
        return f"{each * 1e6:,.0f} µs an alert, most of it to prepare decoding, as they are so few"
    return "no alerts"


def megabytes(count: int) -> str:
    """Return a number of bytes in MB, for people."""
    return f"{count / 1e6:,.1f} MB"


def monitor_lines(figures: dict[str, Any]) -> list[str]:
    """Return the monitor's figures as a line for each topic."""
    clock = time.strftime("%H:%M:%S", time.localtime(figures["time"]))
    lines = []
    for topic, stats in figures["topics"].items():
        line = (
            f"{clock}  {topic}  {stats['alerts']:,} alerts  {megabytes(stats['bytes'])}"
            f"  {stats['alerts_per_second']:,.0f}/s"
        )
        if stats["undecodable"]:
            line += f"  {stats['undecodable']} undecodable"
        for visit, of_visit in list(stats["visits"].items())[-1:]:
            line += (
                f"  visit {visit}: {of_visit['alerts']} alerts,"
                f" latency {_milliseconds(of_visit['latency_p50_ms'])} median,"
                f" {_milliseconds(of_visit['latency_p99_ms'])} p99"
            )
        lines.append(line)
    return lines


def _milliseconds(value: int | None) -> str:
    if value is None:
        return "-"
    return f"{value} ms" if value < 10_000 else f"{value / 1000:,.0f} s"


def show_demo(summary: DemoSummary) -> None:
    """Show what the demonstration has sent, seen, passed and printed."""
    table = Table(title="what became of the alerts", title_justify="left")
    for name in ("topic", "sent or passed", "capped", "seen by monitor", "printed"):
        table.add_column(name, justify="left" if name == "topic" else "right")
    seen = {name: stats["alerts"] for name, stats in summary.monitored["topics"].items()}
    table.add_row(summary.topic, f"{summary.sent.acknowledged} sent", "", str(seen[summary.topic]))
    for counts in summary.filtered:
        topic, passed = counts.filter, f"{counts.passed} of {counts.seen} passed"
        printed = str(summary.printed[topic])
        table.add_row(topic, passed, str(counts.capped), str(seen[topic]), printed)
    Console(file=sys.stdout).print(table)


def cutout_drawing() -> Callable[[Triplet], str]:
    """Return what draws an alert's cutouts as text, in the ways that the terminal knows.

    These are the graphics of kitty or sixel (which iTerm has, too), else half blocks in colour,
    else blocks of four shades. The terminal is asked once, now.

    :raises UsageError: textual-image is not installed.
    """
    logging.getLogger("textual_image").addHandler(logging.NullHandler())
    console = Console(file=sys.stdout, highlight=False)
    if console.color_system is None or not sys.stdin or not sys.stdin.isatty():
        # Without it, textual-image asks nothing: a terminal that knows no colour would show the
        # question, and what another program writes there would be taken for the answer.
        sys.__stdin__ = None  # type: ignore[misc]
    try:
        from textual_image import renderable
    except ImportError as error:
        raise UsageError(
            "cutouts in a terminal need textual-image", todo="pip install 'alertstream[images]'"
        ) from error
    from alertstream.alert.pictures import picture, strip

    kind = renderable.Image
    in_colour = console.color_system is not None and not console.options.ascii_only
    if kind is renderable.HalfcellImage and not in_colour:
        kind = renderable.UnicodeImage

    def draw(shown: Triplet) -> str:
        width = min(console.width, WIDEST)
        if kind in (renderable.HalfcellImage, renderable.UnicodeImage):
            edge = max((width - 2) // 6 * 2, 2)
            titles = " ".join(f"{each:{edge}.{edge}}" for each in _titles(shown, edge))
            drawn = kind(strip(shown, edge, 1, marked=False), 3 * edge + 2, edge // 2)
            return f"{titles}\n{_rendered(console, drawn)}"
        return _rendered(console, kind(picture(shown), width, "auto"))

    return draw


def _titles(shown: Triplet, width: int) -> list[str]:
    from alertstream.alert.pictures import NAMES

    titles = [f"{name.lower()}: {shown.causes.get(name, 'none')}" for name in NAMES]
    for place, name in enumerate(NAMES):
        if name in shown.panels:
            signed = f"{name.lower()}, white=brighter"
            titles[place] = (
                signed if name == "Difference" and len(signed) <= width else name.lower()
            )
    return titles


def _rendered(console: Console, drawn: Any) -> str:
    with console.capture() as captured:
        console.print(drawn, end="")
    return captured.get().rstrip("\n")
