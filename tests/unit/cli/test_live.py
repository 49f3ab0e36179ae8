"""The monitor's screen, drawn without a terminal and without Kafka."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from rich.console import Console
from tests.support.hostile_text import COMMANDS

from alertstream.cli.terminal.live import MonitorScreen, sparkline
from alertstream.cli.terminal.names import shortened

VISIT = {
    "alerts": 1234567,
    "past": 0,
    "first": 1000,
    "seconds": 38.4,
    "latency_p50_ms": 812,
    "latency_p95_ms": 30_000,
    "latency_p99_ms": 31_000,
    "latency_max_ms": 1_234_000,
    "late": 4321,
    "latency_from_producer": None,
    "latency_from_shutter": {"p50_ms": 44_000, "p95_ms": 58_000, "p99_ms": 61_000, "max_ms": 77_000,
                             "late": 5678},
    "complete": False,
}  # fmt: skip
LONG = "a-topic-with-a-name-that-is-longer-than-any-terminal-is-wide-and-then-some"


def topic(alerts: int, **visits: dict[str, Any]) -> dict[str, Any]:
    return {
        "alerts": alerts,
        "bytes": 987_654_321_000,
        "alerts_per_second": 2345.6,
        "undecodable": 7,
        "skipped": 0,
        "failed": 0,
        "visits": visits,
    }


def figures(**topics: dict[str, Any]) -> dict[str, Any]:
    return {"topics": topics, "groups": {}, "connected": True, "time": 1.8e9}


def drawn(screen: MonitorScreen, columns: int) -> str:
    console = Console(file=io.StringIO(), width=columns, height=50)
    screen._console = console
    with console.capture() as captured:
        console.print(screen)
    return captured.get()


@pytest.fixture
def screen() -> MonitorScreen:
    return MonitorScreen(Console(file=io.StringIO()), LONG)


@pytest.mark.parametrize("columns", [50, 60, 71, 80, 100, 120, 200])
def test_names_are_cut_and_numbers_are_not(screen: MonitorScreen, columns: int) -> None:
    seen = figures(**{LONG: topic(12345678, **{"2026112400001": VISIT}), "b": topic(1234)})
    seen["groups"] = {LONG: {LONG: 9876543}}
    asyncio.run(screen.show(seen))
    shown = drawn(screen, columns)
    assert max(map(len, shown.splitlines())) <= columns
    for number in ("12,345,678", "2026112400001", "2,346", "1,234,567 …", "4,321", "9,876,543"):
        assert number in shown
    assert ("1,234 s" in shown) == (columns >= 100)


def test_latencies_count_from_the_clock_that_is_chosen(screen: MonitorScreen) -> None:
    asyncio.run(screen.show(figures(a=topic(1, **{"2026112400001": VISIT}))))
    shown = drawn(screen, 120)
    assert "1,234 s" in shown
    assert "l latency (Kafka)" in shown
    screen.count_from()
    shown = drawn(screen, 120)
    assert all(
        each in shown for each in ("44 s", "58 s", "61 s", "77 s", "5,678", "latency (shutter)")
    )
    screen.count_from()
    assert "  -  " in drawn(screen, 120)
    screen.count_from()
    assert "1,234 s" in drawn(screen, 120)


def test_keys_change_what_is_shown(screen: MonitorScreen) -> None:
    seen = figures(a=topic(1), b=topic(3), c=topic(2))
    asyncio.run(screen.show(seen))
    names = lambda: [line.split()[0] for line in drawn(screen, 80).splitlines() if " 987," in line]  # noqa: E731
    assert names() == ["a", "b", "c"]
    screen.sort()
    assert names() == ["b", "c", "a"]
    screen.pause()
    asyncio.run(screen.show(figures(d=topic(1))))
    assert names() == ["b", "c", "a"]
    assert "paused" in drawn(screen, 80)
    screen.pause()
    asyncio.run(screen.show(figures(d=topic(1))))
    assert names() == ["d"]


def test_what_else_is_said(screen: MonitorScreen) -> None:
    assert "waiting for Kafka" in drawn(screen, 80)
    seen = figures(**{"bad\x1b[31mname": topic(1)}) | {"connected": False}
    asyncio.run(screen.show(seen))
    screen.notice("something is wrong")
    shown = drawn(screen, 80)
    assert "no connection to Kafka" in shown and "something is wrong" in shown
    assert "\x1b[31mname" not in shown


def test_sparks() -> None:
    assert sparkline([0, 4, 8]) == "▁▄█" or len(sparkline([0, 4, 8])) == 3
    assert sparkline([]) == ""


@pytest.mark.hostile("12: names and notices on the monitor's screen")
def test_screen_obeys_nobody(screen: MonitorScreen) -> None:
    seen = figures(**{COMMANDS: topic(1, **{COMMANDS: VISIT})})
    seen["groups"] = {f"{COMMANDS}[/red]": {COMMANDS: 1}}
    asyncio.run(screen.show(seen))
    screen.notice(f"lost [/red] {COMMANDS}")
    assert all(line.isprintable() for line in drawn(screen, 200).split("\n"))


@pytest.mark.parametrize(
    ("width", "same", "shown"),
    [
        (20, 0, "lsst-alerts-v11-F001"),
        (19, 0, "lsst-aler…-v11-F001"),
        (19, 15, "…st-alerts-v11-F001"),
        (6, 15, "…-F001"),
        (5, 15, "…-F…1"),
        (1, 15, "…"),
    ],
)
def test_shortened_names_keep_what_tells_them_apart(width: int, same: int, shown: str) -> None:
    assert shortened("lsst-alerts-v11-F001", width, same) == shown


@pytest.mark.parametrize("columns", [50, 80])
def test_topics_are_told_apart_on_narrow_screens(screen: MonitorScreen, columns: int) -> None:
    names = [f"community-broker-lsst-alerts-v11-{each}" for each in ("SNe", "AGN", "undecodable")]
    seen = figures(**{each: topic(7, **{"2026112400001": VISIT}) for each in names})
    seen["groups"] = {f"filter-of-the-night-{each}": {each: 6} for each in names}
    asyncio.run(screen.show(seen))
    shown = drawn(screen, columns).splitlines()
    assert max(map(len, shown)) <= columns
    for end in ("SNe", "AGN", "able"):
        assert sum(end in line for line in shown) >= 3


def test_help_says_what_is_shown(screen: MonitorScreen) -> None:
    asyncio.run(screen.show(figures(a=topic(1, **{"2026112400001": VISIT}))))
    assert "? help" in drawn(screen, 120)
    screen.help()
    for columns in (50, 120):
        shown = drawn(screen, columns)
        assert max(map(len, shown.splitlines())) <= columns
        for said in ("…", "over 60 s", "lag", "? figures", "q quit"):
            assert said in shown
    assert "2026112400001" not in shown
    screen.help()
    assert "2026112400001" in drawn(screen, 120)


def test_what_was_there_before_has_no_latency(screen: MonitorScreen) -> None:
    none = dict.fromkeys(("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "latency_max_ms"))
    past = VISIT | none | {"past": 7, "seconds": None, "late": 0, "latency_from_shutter": None}
    asyncio.run(screen.show(figures(a=topic(1, **{"2026112400001": past}))))
    for _ in range(2):
        (line,) = [each for each in drawn(screen, 120).splitlines() if "2026112400001" in each]
        assert line.split()[-6:] == ["-"] * 6
        screen.count_from()
