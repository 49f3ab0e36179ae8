"""Counters and latencies."""

from __future__ import annotations

import math
import random

import pytest

from alertstream.monitoring.stats import PERCENTILES, Latencies, Times, TopicStats, VisitStats


def test_percentiles_are_those_of_sorting() -> None:
    rng = random.Random(1)
    values = [rng.lognormvariate(6, 1.5) for _ in range(5000)]
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    found = latencies.percentiles()
    for name, share in PERCENTILES.items():
        exact = sorted(values)[max(int(share * len(values)) - 1, 0)]
        assert found[name] == pytest.approx(exact, rel=0.005, abs=1)


def test_no_percentile_without_latencies() -> None:
    latencies = Latencies()
    for unknown in (math.nan, math.inf, 1e300):
        latencies.add(unknown)
    assert latencies.percentiles() == dict.fromkeys(PERCENTILES)
    assert latencies.figures() is None


def test_clocks_that_differ_give_no_negative_latency() -> None:
    latencies = Latencies()
    latencies.add(-20)
    assert latencies.percentiles()["p50_ms"] == 0


def test_topic_by_visit() -> None:
    stats = TopicStats()
    stats.add(7, 100, Times(10_000, 9_900, -60_000), received=10.5)
    stats.add(7, 100, Times(9_000), received=11.0)
    stats.add(None, 50, Times(12_000), received=12.0)
    stats.add_other("undecodable", 3)
    figures = stats.snapshot(13.0)
    assert (figures["alerts"], figures["bytes"], figures["undecodable"]) == (3, 253, 1)
    assert figures["visits"]["7"] == {
        "alerts": 2,
        "past": 0,
        "first": 9_000,
        "last": 10_000,
        "latency_p50_ms": 500,
        "latency_p95_ms": 2_000,
        "latency_p99_ms": 2_000,
        "latency_max_ms": 2_000,
        "seconds": 2.0,
        "late": 0,
        "latency_from_producer": dict.fromkeys(PERCENTILES, 600) | {"late": 0},
        "latency_from_shutter": dict.fromkeys(PERCENTILES, 70_500) | {"late": 1},
        "complete": False,
    }
    assert figures["visits"]["None"]["latency_from_shutter"] is None
    assert figures["visits"]["None"]["alerts"] == 1


def test_rate_is_that_of_the_last_seconds() -> None:
    stats = TopicStats()
    assert stats.rate(0.0) == 0
    for second in range(1, 31):
        for _ in range(100 if second > 10 else 10):
            stats.add(1, 1, Times(0), 0.0)
        rate = stats.rate(float(second))
    assert rate == pytest.approx(100)


def test_only_the_last_visits_are_kept() -> None:
    stats = TopicStats()
    for visit in range(3000):
        stats.add(visit, 1, Times(0), 0.0)
    assert stats.alerts == 3000
    assert list(stats.visits)[-1] == 2999
    assert len(stats.visits) == 1000


def test_late_alerts_are_counted() -> None:
    stats = VisitStats()
    stats.add(Times(1_000_000), 1059.0)
    stats.add(Times(1_000_000), 1061.5)
    found = stats.snapshot(1062.0)
    assert (found["alerts"], found["late"], found["latency_max_ms"]) == (2, 1, 61_500)
    assert (found["seconds"], found["complete"]) == (61.5, False)
    assert stats.snapshot(1070.0)["complete"] is True
