"""The monitor's live screen: topics, their last visits, and the groups that read them."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import time
import tty
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from alertstream.alert.text import BARS
from alertstream.cli.terminal.names import Name
from alertstream.cli.terminal.output import end_waiting
from alertstream.errors import printable
from alertstream.monitoring.stats import BUDGET, PERCENTILES

Figures = dict[str, Any]
Row = tuple[Sequence[str], dict[str, str]]
"""Names, which may be shortened, and the other cells by column, which may not."""

MAX_VISITS = 5
MAX_GROUPS = 8
TABLE_LINES = 4
"""Lines that a table takes besides its rows; the screen's head and foot take as many."""
SPARKS = 16
"""Refreshes in the sparkline of a topic."""
WIDE, NARROW = 100, 72
SHOWN_FROM = {
    "p99": 60,
    **dict.fromkeys(("share", "MB", "median"), NARROW),
    **dict.fromkeys(("recently", "took", "p95", "longest"), WIDE),
}
"""The width of terminal that columns need; others are always shown."""
ORDERS: dict[str, Callable[[tuple[str, Figures]], Any]] = {
    "as named": lambda topic: 0,
    "by alerts": lambda topic: -topic[1]["alerts"],
    "by rate": lambda topic: -topic[1]["alerts_per_second"],
    "by name": lambda topic: topic[0],
}
CLOCKS = {"Kafka": None, "shutter": "latency_from_shutter", "producer": "latency_from_producer"}
"""What latencies can count from, and where the figures have them, if not at the visit itself."""


HELP = {
    "…": "behind a number: more of this visit may come; in a name: a part that is left out",
    "share": "alerts, as a part of the first topic's",
    "recently": f"alerts of the last {SPARKS} refreshes",
    "took": "from the first alert of a visit produced to the last one here",
    "median, p95, p99, longest": "what the latencies of 50, 95, 99 and 100 % of a visit's alerts "
    "do not exceed, from the clock that l chooses: Kafka's timestamp, the end of the exposure "
    "(shutter), or the producer's header",
    f"over {BUDGET:.0f} s": "alerts whose latency is more than that",
    "-": "not known: as the latency of what was there before the monitor began",
    "lag": "messages that a consumer group has not committed yet",
    "p, s, l, q": "pause or go on, next order of topics, next clock of latencies, quit",
}
"""The words on the screen, and what they mean."""


class MonitorScreen:
    """The screen of the figures, and what the keys have changed.

    :param first: the topic to which the others' shares refer.
    """

    def __init__(self, console: Console, first: str | None) -> None:
        self._console = console
        self._first = first
        self._recently: dict[str, deque[int]] = {}
        self._totals: dict[str, int] = {}
        self._figures: Figures = {}
        self._orders = deque(ORDERS)
        self._clocks = deque(CLOCKS)
        self._paused = self._helps = False
        self._notice = ""

    async def show(self, figures: Figures) -> None:
        """Show new figures; while paused, they are counted and not shown."""
        for topic, stats in figures["topics"].items():
            recently = self._recently.setdefault(topic, deque(maxlen=SPARKS))
            if topic in self._totals:
                recently.append(stats["alerts"] - self._totals[topic])
            self._totals[topic] = stats["alerts"]
        if not self._paused or not self._figures or figures.get("final"):
            self._figures = figures

    def notice(self, text: str) -> None:
        """Show a line for the user, until there is another one."""
        self._notice = printable(text)

    def sort(self) -> None:
        """Show the topics in the next order."""
        self._orders.rotate(-1)

    def count_from(self) -> None:
        """Show latencies from the next clock."""
        self._clocks.rotate(-1)

    def pause(self) -> None:
        """Stop showing new figures, or go on with it."""
        self._paused = not self._paused

    def help(self) -> None:
        """Toggle between the help and the figures."""
        self._helps = not self._helps

    def __rich__(self) -> RenderableType:
        """Return all that is shown."""
        if not self._figures:
            return Text("waiting for Kafka")
        at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self._figures["time"]))
        head = Text(f"alertstream monitor · {at}", style="bold")
        if not self._figures["connected"]:
            head.append(" · no connection to Kafka", style="bold red")
        if self._paused:
            head.append(" · paused", style="bold yellow")
        tables = [_help()] if self._helps else [self._topics(), self._visits(), self._groups()]
        notice = [Text(self._notice, style="yellow")] if self._notice else []
        order, clock = self._orders[0], self._clocks[0]
        settings = f"p pause · s sort ({order}) · l latency ({clock})"
        keys = Text(f"{settings} · ? {'figures' if self._helps else 'help'} · q quit", style="dim")
        return Group(head, *(each for each in tables if each.columns), *notice, keys)

    def _sorted(self) -> list[tuple[str, Figures]]:
        return sorted(self._figures["topics"].items(), key=ORDERS[self._orders[0]])

    def _topics(self) -> Table:
        first = self._figures["topics"].get(self._first, {"alerts": 0})["alerts"]
        topics = self._sorted()
        selected = any(stats["skipped"] or stats["failed"] for _, stats in topics)
        rows: list[Row] = []
        for topic, stats in topics:
            has_share = first and topic != self._first
            cells = {
                "alerts": f"{stats['alerts']:,}",
                "share": f"{stats['alerts'] / first:.1%}" if has_share else "",
                "MB": f"{stats['bytes'] / 1e6:,.1f}",
                "alerts/s": f"{stats['alerts_per_second']:,.0f}",
                "recently": sparkline(self._recently[topic]),
                "undecodable": _alarming(stats["undecodable"], "red"),
            }
            if selected:
                cells |= {
                    "skipped": f"{stats['skipped']:,}",
                    "failed": _alarming(stats["failed"], "red"),
                }
            rows.append(((topic,), cells))
        return self._table(("topic",), rows)

    def _visits(self) -> Table:
        visits: defaultdict[str, list[tuple[str, Figures]]] = defaultdict(list)
        for topic, of_topic in self._sorted():
            for visit, stats in list(of_topic["visits"].items())[-MAX_VISITS:]:
                visits[visit].append((topic, stats))
        began = {name: min(each["first"] or 0 for _, each in of) for name, of in visits.items()}
        rows = [
            (("" if number else visit, topic), _visit_cells(stats, CLOCKS[self._clocks[0]]))
            for visit in sorted(visits, key=began.__getitem__)[-self._visits_that_fit() :]
            for number, (topic, stats) in enumerate(visits[visit])
        ]
        return self._table(("visit", "topic"), rows)

    def _visits_that_fit(self) -> int:
        """Return how many visits there is room for, with a line for each topic."""
        topics = max(len(self._figures["topics"]), 1)
        lags = sum(map(len, self._figures["groups"].values()))
        groups = min(lags, MAX_GROUPS + 1) + TABLE_LINES if lags else 0
        room = self._console.height - 3 * TABLE_LINES - topics - groups
        return min(max(room // topics, 1), MAX_VISITS)

    def _groups(self) -> Table:
        lags = [
            (lag, group, topic)
            for group, of_group in self._figures["groups"].items()
            for topic, lag in of_group.items()
        ]
        lags.sort(key=lambda each: (-each[0], each[1:]))
        rows: list[Row] = [
            ((group, topic), {"lag": _alarming(lag, "yellow")})
            for lag, group, topic in lags[:MAX_GROUPS]
        ]
        if len(lags) > MAX_GROUPS:
            rows.append(((f"and {len(lags) - MAX_GROUPS} more", ""), {"lag": ""}))
        return self._table(("consumer group", "topic"), rows)

    def _table(self, names: Sequence[str], rows: Sequence[Row]) -> Table:
        """Return a table; on a narrow terminal, names are shortened, but not numbers."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        width = self._console.width
        shown = [each for each in rows[0][1] if width >= SHOWN_FROM.get(each, 0)] if rows else []
        for name in names if rows else ():
            table.add_column(name, no_wrap=name == "visit")
        for name in shown:
            table.add_column(name, justify="right", no_wrap=True)
        # Names of topics and groups are chosen by others: make them harmless.
        named = [[printable(each) for each in of_row] for of_row, _ in rows]
        columns = [*zip(*named, strict=True)]
        for texts, (_, cells) in zip(named, rows, strict=True):
            names_of_row = map(Name, texts, columns)
            table.add_row(*names_of_row, *(cells[each] for each in shown))
        return table


def _help() -> Table:
    table = Table.grid(padding=(0, 2), pad_edge=False)
    for shown, meaning in HELP.items():
        table.add_row(Text(shown, style="bold"), meaning)
    return table


def _visit_cells(stats: Figures, clock: str | None) -> dict[str, str]:
    latency = stats[clock] if clock else {name: stats[f"latency_{name}"] for name in PERCENTILES}
    latency = {"late": stats["late"]} | (latency or dict.fromkeys(PERCENTILES))
    late = _alarming(latency["late"], "red") if latency["max_ms"] is not None else "-"
    return {
        "alerts": f"{stats['alerts']:,}{'' if stats['complete'] else ' …'}",
        "took": "-" if stats["seconds"] is None else f"{stats['seconds']:,.1f} s",
        "median": _latency(latency["p50_ms"]),
        "p95": _latency(latency["p95_ms"]),
        "p99": _latency(latency["p99_ms"]),
        "longest": _latency(latency["max_ms"]),
        f"over {BUDGET:.0f} s": late,
    }


def _alarming(count: int, colour: str) -> str:
    return f"[{colour}]{count:,}[/]" if count else "0"


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
def monitor_screen(first: str | None, end: Callable[[], None]) -> Iterator[MonitorScreen]:
    """Show the screen for as long as the context lasts; it is given figures to show.

    :param end: called when the user wants to end it.
    """
    end_waiting()
    console = Console(file=sys.stdout)
    shown = MonitorScreen(console, first)
    actions = {"q": end, "p": shown.pause, "s": shown.sort, "l": shown.count_from}
    actions |= dict.fromkeys("?h", shown.help)
    with Live(shown, console=console, refresh_per_second=4), _keys(actions):
        yield shown


@contextmanager
def _keys(actions: dict[str, Callable[[], None]]) -> Iterator[None]:
    """Run the action of each key that is pressed, if there is a keyboard."""
    keyboard = _keyboard()
    if keyboard is None:
        yield
        return

    def on_key() -> None:
        key = os.read(keyboard, 1).decode(errors="replace").lower()
        if key in actions:
            actions[key]()

    before = termios.tcgetattr(keyboard)
    loop = asyncio.get_running_loop()
    loop.add_reader(keyboard, on_key)
    tty.setcbreak(keyboard)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _keyboard() -> int | None:
    """Return standard input if it is the terminal that this process is in the foreground of.

    Changing a terminal from the background would stop the process.
    """
    try:
        keyboard = sys.stdin.fileno()
        return keyboard if os.tcgetpgrp(keyboard) == os.getpgrp() else None
    except (OSError, ValueError):
        return None
