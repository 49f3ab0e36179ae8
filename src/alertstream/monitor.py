"""Topics to figures: what has come, how fast, of which visits, and how late."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from alertstream.codec import MessageDecoder
from alertstream.errors import UndecodableError
from alertstream.kafka import Message
from alertstream.schemas import Schemas
from alertstream.stats import TopicStats
from alertstream.stream import Stream, next_offsets
from alertstream.survey import Alert, field_paths
from alertstream.topics import is_pattern
from alertstream.visits import Clock


@dataclass
class Watch:
    """Counts the alerts of topics; nothing of an alert is decoded but its visit.

    :param topics: names, and patterns; what matches these is counted as it comes.
    """

    topics: tuple[str, ...]
    schemas: Schemas
    clock: Clock

    def __post_init__(self) -> None:
        self.stats = {topic: TopicStats() for topic in self.topics if not is_pattern(topic)}
        self._decoder = MessageDecoder(self.schemas, field_paths(["visit"]))

    def add(self, message: Message, received: float) -> None:
        """Count a message that was received at ``received``, seconds since 1970."""
        stats = self.stats.setdefault(message.topic, TopicStats())
        size = len(message.value or b"")
        try:
            visit = Alert(self._decoder.decode(message.value)).visit
        except UndecodableError:
            stats.add_undecodable(size)
        else:
            stats.add(visit, size, message.timestamp, received)

    def snapshot(self, *, final: bool = False) -> dict[str, Any]:
        """Return all figures; ``final`` marks the last ones."""
        now = self.clock.now()
        topics = {topic: stats.snapshot(now) for topic, stats in self.stats.items()}
        return {"topics": topics, "time": round(now, 3)} | ({"final": True} if final else {})


async def watch_stream(
    stream: Stream,
    watch: Watch,
    *,
    stop: asyncio.Event,
    refresh: float = 1.0,
    show: Callable[[dict[str, Any]], Awaitable[None]] | None = None,
) -> dict[str, Any]:
    """Watch until ``stop`` or the stream's end; return the final figures.

    :param refresh: seconds from one call of ``show`` to the next.
    :param show: called with the figures as they come, and at the end with the final ones; it may
        take its time.
    """
    due = watch.clock.now() + refresh
    async for batch in stream.batches(stop):
        if not await watch.schemas.ready((each.value for each in batch), stop):
            break
        received = watch.clock.now()
        for message in batch:
            watch.add(message, received)
        await stream.commit(next_offsets(batch))
        if show is not None and received >= due:
            await show(watch.snapshot())
            due = received + refresh
    final = watch.snapshot(final=True)
    if show is not None:
        await show(final)
    return final
