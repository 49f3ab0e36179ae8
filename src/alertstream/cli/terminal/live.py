"""The monitor's screen: topics, their last visits, and the groups that read them."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from alertstream.alert.text import BARS, printable
from alertstream.cli.terminal.output import end_waiting
from alertstream.monitoring.stats import BUDGET

Figures = dict[str, Any]

VISITS_SHOWN = 5
GROUPS_SHOWN = 8
LINES_AROUND = 4
"""Lines that a table takes besides its rows; as many are above and below all of them."""
WIDE, NARROW = 100, 72
"""Columns of a terminal from which on everything is shown, and below which little is."""
VISIT_WIDTH = 13
LONGEST_NAME = 36
VISIT_COLUMNS = {
    "alerts": 0,
    "took": WIDE,
    "median": NARROW,
    "p99": 50,
    "longest": WIDE,
    f"over {BUDGET:.0f} s": 0,
}
"""What is shown of a visit, and from how wide a terminal on."""
TOPIC_COLUMNS = {
    "alerts": 0,
    "share": NARROW,
    "MB": NARROW,
    "alerts/s": 0,
    "lately": WIDE,
    "undecodable": 0,
}
"""What is shown of a topic, and from how wide a terminal on."""
BESIDE_NAMES = {WIDE: 87, NARROW: 64, 0: 50}
"""From how wide a terminal on how many of its columns are for all but a name."""
BESIDE_SPARKS = 64
"""Columns of a wide terminal that are for all but a topic's name and its sparks."""
SPARKS = 30
"""Refreshes of which a topic's line shows how many alerts came."""
_ORDERS = ("as named", "by alerts", "by rate", "by name")


class MonitorScreen:
    """What the screen shows of the figures, and what the keys have changed.

    :param first: the topic of which the others' shares are taken.
    """

    def __init__(self, console: Console, first: str | None) -> None:
        self._console = console
        self._first = first
        self._came: dict[str, deque[int]] = {}
        self._totals: dict[str, int] = {}
        self._order = 0
        self._figures: Figures = {}
        self.paused = False
        self.notice = ""
        """The last line for the user."""

    def take(self, figures: Figures) -> None:
        """Take new figures; while paused, they are counted and not shown."""
        for topic, stats in figures["topics"].items():
            came = self._came.setdefault(topic, deque(maxlen=SPARKS))
            if topic in self._totals:
                came.append(stats["alerts"] - self._totals[topic])
            self._totals[topic] = stats["alerts"]
        if not self.paused or not self._figures or figures.get("final"):
            self._figures = figures

    def sort(self) -> None:
        """Show the topics in the next order."""
        self._order = (self._order + 1) % len(_ORDERS)

    def __rich__(self) -> RenderableType:
        """Return all that is shown."""
        if not self._figures:
            return Text("waiting for Kafka")
        parts: list[RenderableType] = [self._head(), self._topics(), self._visits()]
        if self._figures["groups"]:
            parts.append(self._groups())
        if self.notice:
            parts.append(Text(self.notice, style="yellow"))
        parts.append(Text(f"p pause · s sort ({_ORDERS[self._order]}) · q quit", style="dim"))
        return Group(*parts)

    def _head(self) -> Text:
        at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self._figures["time"]))
        head = Text(f"alertstream monitor · {at}", style="bold")
        if not self._figures["connected"]:
            head.append(" · no connection to Kafka", style="bold red")
        if self.paused:
            head.append(" · paused", style="bold yellow")
        return head

    def _sorted(self) -> list[tuple[str, Figures]]:
        topics = list(self._figures["topics"].items())
        keys: dict[int, Callable[[tuple[str, Figures]], Any]] = {
            1: lambda each: -each[1]["alerts"],
            2: lambda each: -each[1]["alerts_per_second"],
            3: lambda each: each[0],
        }
        return sorted(topics, key=keys[self._order]) if self._order in keys else topics

    @property
    def _longest_name(self) -> int:
        """Return how long names may be, so that all numbers find room."""
        width = self._console.width
        beside = next(columns for least, columns in BESIDE_NAMES.items() if width >= least)
        return min(max(width - beside, 4), LONGEST_NAME)

    def _sparks(self, topic: str) -> str:
        room = max(self._console.width - BESIDE_SPARKS - self._longest_name, 0)
        return sparkline([*self._came[topic]][-room:])

    def _that_fit(self, columns: dict[str, int]) -> list[str]:
        return [name for name, least in columns.items() if self._console.width >= least]

    def _table(self, first: str, others: Sequence[str]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        names = self._longest_name
        most = {"visit": VISIT_WIDTH, "topic": names, "consumer group": names}
        table.add_column(first, no_wrap=True, max_width=most[first])
        for name in others:
            table.add_column(name, justify="right", no_wrap=True, max_width=most.get(name))
        return table

    def _topics(self) -> Table:
        names = self._that_fit(TOPIC_COLUMNS)
        table = self._table("topic", names)
        topics = self._figures["topics"]
        whole = topics[self._first]["alerts"] if self._first in topics else 0
        for topic, stats in self._sorted():
            share = f"{stats['alerts'] / whole:.1%}" if whole and topic != self._first else ""
            bad = f"{stats['undecodable']:,}"
            shown = (
                f"{stats['alerts']:,}",
                share,
                f"{stats['bytes'] / 1e6:,.1f}",
                f"{stats['alerts_per_second']:,.0f}",
                self._sparks(topic),
                f"[red]{bad}[/]" if stats["undecodable"] else bad,
            )
            cells = dict(zip(TOPIC_COLUMNS, shown, strict=True))
            table.add_row(_name(topic), *(cells[name] for name in names))
        return table

    def _visits(self) -> Table:
        names = self._that_fit(VISIT_COLUMNS)
        table = self._table("visit", ["topic", *names])
        table.columns[0].min_width = VISIT_WIDTH
        table.columns[1].justify = "left"
        shown = [
            (visit, topic, stats)
            for topic, of_topic in self._sorted()
            for visit, stats in list(of_topic["visits"].items())[-VISITS_SHOWN:]
        ]
        shown.sort(key=lambda each: each[2]["first"] or 0)
        latest = list(dict.fromkeys(visit for visit, *_ in shown))[-self._visits_that_fit() :]
        for visit in latest:
            for number, (_, topic, stats) in enumerate(each for each in shown if each[0] == visit):
                cells = _visit_cells(stats)
                shown_visit = _name(visit if number == 0 else "")
                table.add_row(shown_visit, _name(topic), *(cells[name] for name in names))
        return table

    def _visits_that_fit(self) -> int:
        """Return of how many visits there is room, with a line for each topic."""
        topics = len(self._figures["topics"])
        lags = sum(map(len, self._figures["groups"].values()))
        groups = min(lags, GROUPS_SHOWN + 1) + LINES_AROUND if lags else 0
        room = self._console.height - 2 * LINES_AROUND - topics - groups - LINES_AROUND
        return min(max(room // max(topics, 1), 1), VISITS_SHOWN)

    def _groups(self) -> Table:
        table = self._table("consumer group", ["topic", "lag"])
        table.columns[1].justify = "left"
        lags = [
            (behind, group, topic)
            for group, of_group in self._figures["groups"].items()
            for topic, behind in of_group.items()
        ]
        lags.sort(key=lambda each: (-each[0], each[1:]))
        for behind, group, topic in lags[:GROUPS_SHOWN]:
            table.add_row(_name(group), _name(topic), f"[yellow]{behind:,}[/]" if behind else "0")
        if len(lags) > GROUPS_SHOWN:
            table.add_row(f"and {len(lags) - GROUPS_SHOWN} more", "", "")
        return table


def _name(text: str) -> Text:
    """Return a name as it may be shown: whoever makes a topic or a group chooses it freely."""
    return Text(printable(text))


def _visit_cells(stats: Figures) -> dict[str, str]:
    """Return what the columns show of a visit, in the order of ``VISIT_COLUMNS``."""
    arriving = "" if stats["complete"] else " …"
    late = f"{stats['late']:,}"
    cells = (
        f"{stats['alerts']:,}{arriving}",
        f"{stats['seconds']:,.1f} s",
        *(_latency(stats[f"latency_{name}_ms"]) for name in ("p50", "p99", "max")),
        f"[red]{late}[/]" if stats["late"] else late,
    )
    return dict(zip(VISIT_COLUMNS, cells, strict=True))


def _latency(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "-"
    seconds = milliseconds / 1000
    colour = "green" if seconds < BUDGET / 2 else "yellow" if seconds <= BUDGET else "red"
    shown = f"{seconds:.2f}" if seconds < 10 else f"{seconds:,.0f}"
    return f"[{colour}]{shown} s[/]"


def sparkline(values: Sequence[int]) -> str:
    """Return numbers as a line of small bars, the largest one full."""
    most = max(values, default=0) or 1
    return "".join(BARS[round(each / most * (len(BARS) - 1))] for each in values)


@contextmanager
def monitor_screen(first: str | None, quit_: Callable[[], None]) -> Iterator[MonitorScreen]:
    """Show the screen for as long as the context lasts; take figures with its ``take``.

    :param quit_: called when the user wants to end it.
    """
    end_waiting()
    console = Console(file=sys.stdout)
    shown = MonitorScreen(console, first)

    def on_key(key: str) -> None:
        match key.lower():
            case "q":
                quit_()
            case "p":
                shown.paused = not shown.paused
            case "s":
                shown.sort()

    with Live(shown, console=console, refresh_per_second=4), _keys(on_key):
        yield shown


@contextmanager
def _keys(on_key: Callable[[str], None]) -> Iterator[None]:
    """Call ``on_key`` with each key that is pressed, if there is someone who can press one."""
    keyboard = _keyboard()
    if keyboard is None:
        yield
        return
    before = termios.tcgetattr(keyboard)
    loop = asyncio.get_running_loop()
    loop.add_reader(keyboard, lambda: on_key(os.read(keyboard, 1).decode(errors="replace")))
    tty.setcbreak(keyboard)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _keyboard() -> int | None:
    """Return standard input if it is the terminal that this process is in the foreground of.

    To change a terminal from the background would stop the process.
    """
    try:
        keyboard = sys.stdin.fileno()
        return keyboard if os.tcgetpgrp(keyboard) == os.getpgrp() else None
    except (OSError, ValueError):
        return None
