"""Alerts that come late."""

from __future__ import annotations

from alertstream.monitoring.stats import VisitStats


def test_late_alerts_are_counted() -> None:
    stats = VisitStats()
    stats.add(1_000_000, 1059.0)
    stats.add(1_000_000, 1061.5)
    found = stats.snapshot(1062.0)
    assert (found["alerts"], found["late"], found["latency_max_ms"]) == (2, 1, 61_500)
    assert (found["seconds"], found["complete"]) == (61.5, False)
    assert stats.snapshot(1070.0)["complete"] is True
