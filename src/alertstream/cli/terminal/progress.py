"""Progress bars, where standard error is a terminal."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from alertstream.cli.terminal.output import end_waiting, is_quiet
from alertstream.errors import printable

if TYPE_CHECKING:
    from alertstream.kafka.consumer import Progress as ReadingProgress
    from alertstream.sending.delivery import VisitSent


class Rate(ProgressColumn):
    """Alerts per second, lately."""

    def render(self, task: Task) -> Text:
        """Return them as text."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


@contextmanager
def _bars(*columns: str | ProgressColumn) -> Iterator[Progress]:
    """Give bars, which are shown as long as the context lasts."""
    end_waiting()
    console = Console(stderr=True, highlight=False)
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=is_quiet() or not console.is_terminal,
        # Otherwise, redirected output would be shown with the bars instead of going to its file.
        redirect_stdout=sys.stdout.isatty(),
    ) as bars:
        yield bars


@contextmanager
def _bar(*columns: str | ProgressColumn, **task: Any) -> Iterator[Callable[..., None]]:
    """Show a bar; give what updates it, as rich's ``Progress.update`` does."""
    with _bars(*columns) as bars:
        yield partial(bars.update, bars.add_task("", **task))


class SendProgress:
    """A bar for each visit that is being sent, and one that says when the next one starts."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[int, TaskID] = {}
        self._next = bars.add_task("", total=None, visible=False, done="")

    def show(self, visit: VisitSent, share: float) -> None:
        """Show how much of a visit has been read."""
        if id(visit) not in self._tasks:
            self._tasks[id(visit)] = self._bars.add_task("", total=1.0, done="")
            self._bars.update(self._next, visible=False)
        task = self._tasks[id(visit)]
        name = escape(f"visit {printable(visit.visit)}")
        done = f"{share:4.0%}  {visit.acknowledged} alerts"
        self._bars.update(task, description=name, completed=share, done=done)
        if share >= 1:
            self._bars.remove_task(self._tasks.pop(id(visit)))

    def wait(self, start: float) -> None:
        """Show when the next visit starts, if that is not at once."""
        if start - time.time() > 1:
            text = f"the next visit starts at {time.strftime('%H:%M:%S', time.gmtime(start))} UTC"
            self._bars.reset(self._next, description=text, visible=True)


@contextmanager
def send_progress() -> Iterator[SendProgress]:
    """Show how far visits are as they are sent, and when the next one is."""
    columns = ("{task.description}", BarColumn(), "{task.fields[done]}", TimeElapsedColumn())
    with _bars(*columns) as bars:
        yield SendProgress(bars)


@contextmanager
def fetch_progress() -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar while the files of the local Kafka are fetched."""
    columns = ("fetching Kafka", BarColumn(), "{task.fields[name]}")
    with _bar(*columns, total=None, visible=False, name="") as update:
        yield lambda done, total, name: update(
            completed=done, total=total, name=name, visible=done < total
        )


@contextmanager
def simulate_progress(total: int, per_visit: int) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while visits are made up."""
    columns = ("simulating", BarColumn(), "{task.completed} alerts", TimeRemainingColumn())
    with _bar(*columns, total=total) as update:
        yield lambda visit, done: update(completed=visit * per_visit + done)


@contextmanager
def share_progress(text: str) -> Iterator[Callable[[float], None]]:
    """Show a bar that takes how much is done, 0 to 1."""
    columns = (text, BarColumn(), "{task.percentage:3.0f} %", TimeRemainingColumn())
    with _bar(*columns, total=1.0) as update:
        yield lambda share: update(completed=share)


@contextmanager
def reading_progress(*, always: bool = False) -> Iterator[ReadingProgress]:
    """Show a bar from the first messages on, if their output is not visible, or ``always``.

    It is invisible if standard output is a file or nowhere; a pipe's reader may show it.
    """
    mode = os.fstat(sys.stdout.fileno()).st_mode
    seen = not stat.S_ISREG(mode) and (not stat.S_ISCHR(mode) or sys.stdout.isatty())
    if seen and not always:
        yield lambda came, left: None
        return
    columns = ("reading", BarColumn(), "{task.completed} alerts", Rate(), TimeRemainingColumn())
    update: Callable[..., None] | None = None
    done = 0

    def show(came: int, left: int | None) -> None:
        nonlocal update, done
        update = update or stack.enter_context(_bar(*columns, total=None))
        done += came
        update(completed=done, total=None if left is None else done + left)

    with ExitStack() as stack:
        yield show
