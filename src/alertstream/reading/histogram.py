"""Times counted in Prometheus' buckets, so that they can be summed over processes."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from alertstream.kafka.messages import Message

BOUNDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 90.0, 120.0, 300.0, 600.0, 3600.0),
)
"""Seconds that the times in each bucket do not exceed; there is another one, without a bound."""
MAX_TIME = 1e12
"""Seconds: more than any clock can show."""


@dataclass(slots=True)
class Histogram:
    """How many times there were in each bucket, and their sum in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    sum: float = 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        """Count a time, or several; a negative one, as of clocks that differ, counts as 0.

        NaN, and more than any clock can show, are left out.
        """
        if -MAX_TIME < seconds < MAX_TIME:
            seconds = max(seconds, 0.0)
            self.counts[bisect_left(BOUNDS, seconds)] += count
            self.sum += seconds * count

    def __add__(self, other: Histogram) -> Histogram:
        counts = [one + more for one, more in zip(self.counts, other.counts, strict=True)]
        return Histogram(counts, self.sum + other.sum)


class TopicLatencies(defaultdict[str, Histogram]):
    """How late messages are, from Kafka's timestamp to what is done with them, by topic."""

    def __init__(self) -> None:
        super().__init__(Histogram)

    def add(self, done: Iterable[Message]) -> None:
        """Count messages with which it has just been done."""
        now = time.time()
        for message in done:
            self[message.topic].add(now - message.timestamp / 1000)
