"""Watches topics: how many alerts come, how fast, of which visits, and how late."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from alertstream.alert.surveys import field_paths
from alertstream.avro.schemas import Schemas
from alertstream.errors import Notice
from alertstream.filtering.selection import Selection
from alertstream.kafka.admin import Groups, Lags
from alertstream.kafka.consumer import Consumer
from alertstream.kafka.messages import next_offsets
from alertstream.kafka.producer import KafkaError
from alertstream.kafka.topics import is_pattern
from alertstream.monitoring.stats import Times, TopicStats
from alertstream.reading.decoder import AlertDecoder, ReceivedAlert, Undecodable, decodable

LAG_INTERVAL = 5.0
"""Seconds from one look at the groups' lag to the next, and the time-out of each."""
WATCHED = ("visit", "mjd", "exposure_time")
"""What is decoded of an alert."""

Show = Callable[[dict[str, Any]], Awaitable[None]]


def times_of(alert: ReceivedAlert) -> Times:
    """Return when an alert's latency starts, by each clock."""
    message = alert.message
    try:
        shutter = alert.shutter * 1000
    except (TypeError, ValueError):
        # In an unknown survey, these fields may hold anything.
        shutter = math.nan
    return Times(message.timestamp, message.producer_timestamp, shutter)


async def _show_nothing(figures: dict[str, Any]) -> None:
    """Show nothing while alerts are counted."""


@dataclass
class Watch:
    """Counts the alerts of topics, by visit.

    :param topics: names, or patterns, whose topics are counted as they come.
    :param selection: chooses what is counted; None is everything.
    """

    topics: tuple[str, ...]
    selection: Selection | None = None

    def __post_init__(self) -> None:
        self.ends: dict[tuple[str, int], int] = {}
        """Where partitions ended when the watch began: alerts before that are past."""
        self.stats = {topic: TopicStats() for topic in self.topics if not is_pattern(topic)}
        self.lags: Lags = {}

    def add(self, alert: ReceivedAlert | Undecodable, received: float) -> None:
        """Count a message that was received at ``received``, seconds since 1970."""
        message = alert.message
        stats = self.stats.setdefault(message.topic, TopicStats())
        size = len(message.value or b"")
        if isinstance(alert, Undecodable):
            stats.add_other("undecodable", size)
            return
        passes = self.selection.passes(alert) if self.selection is not None else True
        if passes:
            past = message.offset < self.ends.get((message.topic, message.partition), 0)
            stats.add(alert.visit, size, times_of(alert), received, past=past)
        else:
            stats.add_other("failed" if passes is None else "skipped", size)

    def paths(self) -> set[str] | None:
        """Return the dotted paths to decode; None is all."""
        chosen_by = self.selection.paths() if self.selection is not None else set()
        return None if chosen_by is None else chosen_by | field_paths(WATCHED)

    def snapshot(self, *, connected: bool = True, final: bool = False) -> dict[str, Any]:
        """Return all figures; ``final`` marks the last ones."""
        now = time.time()
        return {
            "topics": {topic: stats.snapshot(now) for topic, stats in self.stats.items()},
            "groups": self.lags,
            "connected": connected,
            "time": round(now, 3),
        } | ({"final": True} if final else {})


async def watch_stream(
    consumer: Consumer,
    schemas: Schemas,
    watch: Watch,
    *,
    stop: asyncio.Event,
    refresh: float = 1.0,
    groups: Groups | None = None,
    show: Show = _show_nothing,
    notice: Notice = lambda text: None,
) -> dict[str, Any]:
    """Watch until ``stop`` or the end; return the final figures.

    Only an alert's visit, the end of its exposure, and the fields that select it are decoded.

    :param refresh: seconds from one call of ``show`` to the next.
    :param groups: where the lag of consumer groups is looked up, and what is there already.
    :param show: called with the figures as they come, and with the final ones; it may be slow.
    """
    decoder = AlertDecoder(schemas, watch.paths(), notice)
    if groups is not None:
        watch.ends = await groups.ends(watch.topics)
    following = asyncio.create_task(_follow_groups(watch, groups))
    due = time.time() + refresh
    try:
        async for batch in decodable(consumer.batches(stop), decoder, stop):
            received = time.time()
            for message in batch:
                watch.add(decoder.decode(message), received)
            await consumer.commit(next_offsets(batch))
            if received >= due:
                await show(watch.snapshot(connected=consumer.connected))
                due = received + refresh
    finally:
        following.cancel()
    await _ask_groups(watch, groups)
    final = watch.snapshot(connected=consumer.connected, final=True)
    await show(final)
    return final


async def _follow_groups(watch: Watch, groups: Groups | None) -> None:
    while groups is not None:
        await _ask_groups(watch, groups)
        await asyncio.sleep(LAG_INTERVAL)


async def _ask_groups(watch: Watch, groups: Groups | None) -> None:
    if groups is not None:
        # Without an answer, as from a broker that is down, the figures stay as they are.
        with suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(LAG_INTERVAL):
                watch.lags = await groups.lags(watch.stats)
