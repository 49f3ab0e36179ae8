"""Counts of topics and visits: alerts, bytes, rates, latencies."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from alertstream.reading import VISIT_TIMEOUT
from alertstream.reading.histogram import Histogram

BUDGET = 60.0
"""Seconds in which an alert must reach subscribers (OTT1 of LSST's requirements, LPM-17)."""
RATE_SPAN = 10.0
"""Seconds over which a rate is taken."""
MAX_VISITS = 1000
"""Visits of a topic whose figures are kept; older ones are only in the topic's sums."""

MAX_LATENCY = 1e15
"""Milliseconds."""
PERCENTILES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}
CLOCKS = ("kafka", "producer", "shutter")
"""Those of :class:`Times`."""


class Times(NamedTuple):
    """When an alert's latency starts, by three clocks: ms since 1970, NaN if unknown.

    :param timestamp: Kafka's timestamp of its message.
    :param producer: the header ``producer_timestamp``.
    :param shutter: the end of the exposure.
    """

    timestamp: int
    producer: float = math.nan
    shutter: float = math.nan


class Latencies(Counter[int]):
    """Latencies in whole milliseconds, above 1 s in three digits, which bounds their number.

    ``late`` are those of more than ``BUDGET``.
    """

    late = 0

    def add(self, milliseconds: float) -> None:
        """Count one; NaN, and more than any clock can show, are left out."""
        if not abs(milliseconds) < MAX_LATENCY:
            return
        self.late += milliseconds > BUDGET * 1000
        whole, step = max(round(milliseconds), 0), 1
        while whole >= 1000 * step:
            step *= 10
        whole = round(whole / step) * step
        self[whole] = self.get(whole, 0) + 1

    def percentiles(self) -> dict[str, int | None]:
        """Return the latencies that 50, 95, 99 and 100 % of all do not exceed, ms, by name.

        They are None without any latency.
        """
        found: dict[str, int | None] = dict.fromkeys(PERCENTILES)
        rank, total, wanted = 0, self.total(), list(PERCENTILES.items())
        for milliseconds in sorted(self):
            rank += self[milliseconds]
            while wanted and rank >= wanted[0][1] * total:
                found[wanted.pop(0)[0]] = milliseconds
        return found

    def figures(self) -> dict[str, int | None] | None:
        """Return the percentiles, and how many are late; None without any latency."""
        return self.percentiles() | {"late": self.late} if self else None


@dataclass
class VisitStats:
    """One visit in one topic: its alerts, and when the first and last was produced (ms).

    ``received`` is when the last one came (s).

    :param past: how many of them were there before the watch began, and have no latency.
    :param latencies: by clock.
    """

    alerts: int = 0
    past: int = 0
    first: int | None = None
    last: int | None = None
    received: float = 0.0
    latencies: dict[str, Latencies] = field(
        default_factory=lambda: {clock: Latencies() for clock in CLOCKS}
    )

    def add(self, times: Times, received: float, *, past: bool = False) -> None:
        """Count an alert received at ``received`` s."""
        timestamp = times.timestamp
        self.alerts += 1
        self.first = timestamp if self.first is None else min(self.first, timestamp)
        self.last = timestamp if self.last is None else max(self.last, timestamp)
        self.received = max(self.received, received)
        self.past += past
        if not past:
            for latencies, began in zip(self.latencies.values(), times, strict=True):
                latencies.add(received * 1000 - began)

    @property
    def seconds(self) -> float:
        """From the first produce to the last alert received."""
        return self.received - (self.first or 0) / 1000

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return the visit's figures: times in ms since 1970, latencies in ms.

        ``seconds`` are None if any of its alerts is past.
        """
        kafka, producer, shutter = self.latencies.values()
        return {
            "alerts": self.alerts,
            "past": self.past,
            "first": self.first,
            "last": self.last,
            **{f"latency_{name}": value for name, value in kafka.percentiles().items()},
            "seconds": round(self.seconds, 3) if not self.past else None,
            "late": kafka.late,
            "latency_from_producer": producer.figures(),
            "latency_from_shutter": shutter.figures(),
            "complete": now - self.received > VISIT_TIMEOUT,
        }


@dataclass
class TopicStats:
    """One topic as its monitor has seen it.

    :param skipped: alerts that are not selected.
    :param failed: alerts on which a filter's code raised an error.
    :param histograms: latencies of all visits, by the clock that they begin by.
    """

    alerts: int = 0
    bytes: int = 0
    undecodable: int = 0
    skipped: int = 0
    failed: int = 0
    visits: dict[int | None, VisitStats] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def add(
        self, visit: int | None, size: int, times: Times, received: float, *, past: bool = False
    ) -> None:
        """Count an alert of ``size`` bytes."""
        self.alerts += 1
        self.bytes += size
        if visit not in self.visits and len(self.visits) >= MAX_VISITS:
            del self.visits[next(iter(self.visits))]
        self.visits.setdefault(visit, VisitStats()).add(times, received, past=past)
        if not past:
            for clock, began in zip(CLOCKS, times, strict=True):
                if began == began:
                    self.histograms.setdefault(clock, Histogram()).add(received - began / 1000)

    def add_other(self, what: str, size: int) -> None:
        """Count a message that is not watched: ``undecodable``, ``skipped`` or ``failed``."""
        setattr(self, what, getattr(self, what) + 1)
        self.bytes += size

    def rate(self, now: float) -> float:
        """Return the alerts a second over the last ``RATE_SPAN``, asked at regular times."""
        self._recent.append((now, self.alerts))
        while now - self._recent[0][0] > RATE_SPAN:
            self._recent.popleft()
        then, alerts = self._recent[0]
        return (self.alerts - alerts) / (now - then) if now > then else 0.0

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return the topic's figures."""
        return {
            "alerts": self.alerts,
            "bytes": self.bytes,
            "undecodable": self.undecodable,
            "skipped": self.skipped,
            "failed": self.failed,
            "alerts_per_second": round(self.rate(now), 1),
            "visits": {str(visit): stats.snapshot(now) for visit, stats in self.visits.items()},
        }
