"""Progress bars, where standard error is a terminal."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from alertstream.cli.terminal.output import end_waiting, is_quiet

if TYPE_CHECKING:
    from alertstream.kafka.consumer import Progress as ReadingProgress
    from alertstream.sending.sender import VisitSent


def _bars(*columns: str | ProgressColumn) -> Progress:
    end_waiting()
    console = Console(stderr=True, highlight=False)
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
