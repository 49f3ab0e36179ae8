"""What has come of topics and visits, counted: alerts, bytes, rates, latencies."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from alertstream.reading import VISIT_TIMEOUT

BUDGET = 60.0
"""Seconds in which an alert must be with subscribers (OTT1 of LSST's requirements, LPM-17)."""
RATE_SPAN = 10.0
"""Seconds over which a rate is taken."""
MAX_VISITS = 1000
"""Visits of a topic whose figures are kept; of older ones only the topic's sums are."""


class Latencies(Counter[int]):
    """Latencies in whole milliseconds, from 1 s on to three digits: exact enough, and small."""

    def add(self, milliseconds: float) -> None:
        """Count one."""
        whole = max(round(milliseconds), 0)
        self[whole if whole < 1000 else int(float(f"{whole:.3g}"))] += 1

    def percentile(self, share: float) -> int | None:
        """Return the latency that ``share`` (0 to 1) of all do not exceed, ms; None without any."""
        rank = share * self.total()
        for milliseconds in sorted(self):
            rank -= self[milliseconds]
            if rank <= 0:
                return milliseconds
        return None


@dataclass
class VisitStats:
    """One visit in one topic: its alerts, and when the first and last was produced (ms).

    ``late`` are those that came after ``BUDGET``, ``received`` is when the last one came (s).
    """

    alerts: int = 0
    late: int = 0
    first: int | None = None
    last: int | None = None
    received: float = 0.0
    latencies: Latencies = field(default_factory=Latencies)

    def add(self, timestamp: int, received: float) -> None:
        """Count an alert produced at ``timestamp`` ms and received at ``received`` s."""
        self.alerts += 1
        self.first = timestamp if self.first is None else min(self.first, timestamp)
        self.last = timestamp if self.last is None else max(self.last, timestamp)
        self.late += received - timestamp / 1000 > BUDGET
        self.received = max(self.received, received)
        self.latencies.add(received * 1000 - timestamp)

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return the visit's figures: times in ms since 1970, latencies in ms.

        ``seconds`` are those from the first produce to the last alert received.
        """
        return {
            "alerts": self.alerts,
            "first": self.first,
            "last": self.last,
            "latency_p50_ms": self.latencies.percentile(0.5),
            "latency_p99_ms": self.latencies.percentile(0.99),
            "latency_max_ms": self.latencies.percentile(1.0),
            "seconds": round(self.received - (self.first or 0) / 1000, 3),
            "late": self.late,
            "complete": now - self.received > VISIT_TIMEOUT,
        }


@dataclass
class TopicStats:
    """One topic as its monitor has seen it."""

    alerts: int = 0
    bytes: int = 0
    undecodable: int = 0
    visits: dict[int | None, VisitStats] = field(default_factory=dict)
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, visit: int | None, size: int, timestamp: int, received: float) -> None:
        """Count an alert of ``size`` bytes."""
        self.alerts += 1
        self.bytes += size
        if visit not in self.visits and len(self.visits) >= MAX_VISITS:
            del self.visits[next(iter(self.visits))]
        self.visits.setdefault(visit, VisitStats()).add(timestamp, received)

    def add_undecodable(self, size: int) -> None:
        """Count a message that cannot be decoded."""
        self.undecodable += 1
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
            "alerts_per_second": round(self.rate(now), 1),
            "visits": {str(visit): stats.snapshot(now) for visit, stats in self.visits.items()},
        }
