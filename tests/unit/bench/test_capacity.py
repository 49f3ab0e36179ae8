"""bench/capacity.py: what a stream needs follows from what was measured, and fits the curves."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench.capacity import STREAMS, Stream, costs_in, expectations, measured_seconds, need

DOCS = Path(__file__).parents[3] / "docs"
FIGURES: dict[str, Any] = json.loads((DOCS / "curves.json").read_text(encoding="utf-8"))
COSTS = costs_in(FIGURES)
NIGHT = STREAMS[0]


def script(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.capacity", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=DOCS.parent)


def test_a_night_of_ten_million_alerts() -> None:
    found = need(NIGHT, COSTS)
    assert found.night == 1e12
    assert found.incoming == pytest.approx((1e9 + 100 * 20 * 100e3) / 20)
    assert found.copied == 2 * found.incoming
    assert found.outgoing == pytest.approx((8 * 1e9 + 100 * 20 * 100e3) / 20)
    assert found.disk == pytest.approx(7 * 1000 * 3 * 1.2e9)
    assert (found.brokers, found.limit) == (3, "copies")


def test_full_streams_cost_network_and_filtered_ones_nearly_nothing() -> None:
    none, hundred = need(replace(NIGHT, full=0), COSTS), need(replace(NIGHT, full=100), COSTS)
    assert hundred.limit == "network out" and hundred.brokers > 3 >= none.brokers
    filtered = need(replace(NIGHT, full=0, filtered=0), COSTS)
    assert none.outgoing - filtered.outgoing == pytest.approx(100 * 20 * 100e3 / 20)


def test_two_consumers_take_twice_what_comes_in_as_in_dmtn_028() -> None:
    found = need(Stream(full=2, filters=0, filtered=0, groups=0, copies=1), COSTS)
    assert found.outgoing / found.incoming == pytest.approx(45 / 23, rel=0.05)


def test_need_grows_with_alerts_but_for_what_caps_hold() -> None:
    once, tenfold = need(NIGHT, COSTS), need(replace(NIGHT, alerts=100_000), COSTS)
    assert tenfold.night == 10 * once.night
    assert 8 < tenfold.incoming / once.incoming < 10
    assert tenfold.partitions >= once.partitions >= 12


@pytest.mark.parametrize(("curve", "point", "expected"), list(expectations(FIGURES)))
def test_curves_are_what_the_costs_make_one_expect(curve: str, point: str, expected: float) -> None:
    assert 0.6 < measured_seconds(FIGURES, curve, point) / expected < 2.5


def test_filters_and_alerts_grow_as_promised() -> None:
    one = measured_seconds(FIGURES, "filters", "1 filters")
    assert measured_seconds(FIGURES, "filters", "100 filters") < 1.3 * one
    assert measured_seconds(FIGURES, "filters", "250 filters") < 2 * one
    for what in ("send", "filter 1-100"):
        ten = measured_seconds(FIGURES, "visits", f"{what}, 10 visits of 10000")
        assert measured_seconds(FIGURES, "visits", f"{what}, 100000 alerts") < 1.2 * ten
        memory = {each["name"]: max(each["megabytes"]) for each in FIGURES["visits"]}
        large, usual = memory[f"{what}, 100000 alerts"], memory[f"{what}, 10000 alerts"]
        assert large < 1.1 * usual


def test_the_table_of_ones_own_stream() -> None:
    shown = script("--alerts", 40_000, "--size", 80_000, "--full", 20, "--filtered", 0)
    assert shown.returncode == 0, shown.stderr
    head, _, row = shown.stdout.splitlines()
    assert head.startswith("| stream | in, MB/s |")
    assert row.startswith("| yours | 168 | 336 | 3,360 | 3.2 |")


@pytest.mark.parametrize("wrong", [("--alerts", "many"), ("--colour", "blue")])
def test_what_it_does_not_know(wrong: tuple[str, str]) -> None:
    shown = script(*wrong)
    assert shown.returncode == 2 and "error: " in shown.stderr
