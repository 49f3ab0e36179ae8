"""A load test's subscribers: how much each has read, how fast, how late, and which are behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from alertstream.errors import Notice
from alertstream.kafka.connection import Connection
from alertstream.kafka.consumer import subscribe
from alertstream.kafka.messages import Message
from alertstream.kafka.subscription import Subscription
from alertstream.monitoring.stats import Latencies


@dataclass
class Subscriber:
    """What one subscriber has read; nothing is decoded.

    :param number: its number, from 1.
    :param begin: when it was ready to read, s since 1970; ``last`` is when the last messages came.
    :param latencies: from Kafka's timestamp, of what was sent after ``begin``.
    """

    number: int
    alerts: int = 0
    bytes: int = 0
    begin: float = 0.0
    last: float = 0.0
    latencies: Latencies = field(default_factory=Latencies)

    def add(self, batch: Iterable[Message], received: float) -> None:
        """Count messages that were received at ``received``, s since 1970."""
        now, begin = received * 1000, self.begin * 1000
        for message in batch:
            self.alerts += 1
            self.bytes += len(message.value or b"")
            if message.timestamp >= begin:
                self.latencies.add(now - message.timestamp)
            self.last = received

    def as_json(self) -> dict[str, Any]:
        """Return it as :meth:`from_json` takes it."""
        late = {"late": self.latencies.late}
        return vars(self) | {"latencies": {str(key): n for key, n in self.latencies.items()}} | late

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Subscriber:
        """Return what a process has reported of one of its own."""
        latencies = Latencies({int(key): n for key, n in found.pop("latencies").items()})
        latencies.late = found.pop("late")
        return cls(**found, latencies=latencies)

    def figures(self) -> dict[str, Any]:
        """Return what it has read, in how long, and how fast."""
        seconds = max(self.last - self.begin, 0.0)
        return {
            "alerts": self.alerts,
            "bytes": self.bytes,
            "seconds": round(seconds, 3),
            "alerts_per_second": round(self.alerts / seconds, 1) if seconds else 0.0,
            "megabytes_per_second": round(self.bytes / seconds / 1e6, 3) if seconds else 0.0,
            "latency": self.latencies.figures(),
        }


def figures(subscribers: Iterable[Subscriber], *, final: bool = False) -> dict[str, Any]:
    """Return the figures of all of them together; with ``final`` of each, too.

    ``behind`` counts the alerts that another subscriber has read, and this one has not; ``slowest``
    is the subscriber with most of them.
    """
    known = sorted(subscribers, key=lambda each: each.number)
    most = max((each.alerts for each in known), default=0)
    total = Subscriber(0, begin=min((each.begin for each in known), default=0.0))
    for each in known:
        total.alerts += each.alerts
        total.bytes += each.bytes
        total.last = max(total.last, each.last)
        total.latencies.update(each.latencies)
        total.latencies.late += each.latencies.late
    last = min(known, key=lambda each: each.alerts, default=total)
    found: dict[str, Any] = {"subscribers": len(known)} | total.figures()
    found["slowest"] = {"subscriber": last.number, "behind": most - last.alerts}
    found["time"] = round(time.time(), 3)
    if final:
        found["each"] = [
            {"subscriber": each.number, "behind": most - each.alerts} | each.figures()
            for each in known
        ]
        found["final"] = True
    return found


async def read_as(
    subscriber: Subscriber,
    connection: Connection,
    subscription: Subscription,
    *,
    stop: asyncio.Event,
    notice: Notice = lambda text: None,
) -> None:
    """Read as one subscriber, until ``stop`` or the end.

    :raises TopicError: a topic does not exist.
    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    async with subscribe(connection, subscription, stop=stop, notice=notice) as consumer:
        subscriber.begin = subscriber.last = time.time()
        async for batch in consumer.batches(stop):
            subscriber.add(batch, time.time())
