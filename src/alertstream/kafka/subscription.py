"""What to read, where reading a partition starts, and where it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from alertstream.errors import UsageError
from alertstream.kafka._aiokafka.assignor import assignor
from alertstream.kafka._aiokafka.clients import KafkaConsumer

HEARTBEAT_INTERVAL_MS = 500
"""Between heartbeats. Members learn of rebalances by them, so a new member waits as long."""
MISSED_AFTER = 15.0
"""Seconds after which a group has noticed a member's death, and reassigned its partitions."""


_Offsets = dict[TopicPartition, tuple[int, str]]


class Resumption(Protocol):
    """Decides where a group continues, if not at its offsets."""

    def resume(self, offsets: _Offsets, begins: dict[TopicPartition, int]) -> _Offsets:
        """Return where to read from, with the text to store, given the group's offsets and texts.

        :param begins: the oldest offsets that Kafka has.
        """

    def read_from_beginning(self, partition: TopicPartition) -> None:
        """Take note that a partition has lost its end, and is read from its beginning."""


@dataclass(frozen=True)
class Subscription:
    """What to read, from where on, and how far.

    :param topics: names, or patterns as for files: ``alerts-*``. A topic that matches one is read
        as soon as it exists; one that appears later, from its beginning.
    :param group: consumer group that remembers what was read; None remembers nothing.
    :param start: where to start without a committed offset: ``earliest``, ``latest``, a time, or
        an offset; a negative one counts from the partition's end.
    :param until: where to end: before an offset of each partition, or before the first message of
        a time.
    :param exit_on_eof: end where the partitions ended when reading began.
    :param instance: name of a static member (KIP-345): when it comes back after a crash it has its
        partitions again, and the group does not wait for its session to time out.
    :param protocol: a word that a group's members share: Kafka refuses members with another one.
    :param resumption: decides where the group continues; None: at its offsets.
    :raises UsageError: the start or the end is not valid.
    """

    topics: tuple[str, ...]
    group: str | None = None
    start: str | int | datetime = "earliest"
    until: int | datetime | None = None
    exit_on_eof: bool = False
    instance: str | None = None
    protocol: str = ""
    resumption: Resumption | None = None

    def __post_init__(self) -> None:
        if isinstance(self.start, str) and self.start not in ("earliest", "latest"):
            raise UsageError(f"{self.start} is not a valid start", todo="earliest or latest")
        if isinstance(self.until, int) and self.until < 0:
            raise UsageError(f"{self.until} is not a valid end offset", todo="it must be 0 or more")
        if _is_after(self.start, self.until):
            what = "reading would start (--from) after its end (--until)"
            raise UsageError(what, where=f"{self.start}, {self.until}", todo="exchange them")

    def member_settings(self) -> dict[str, Any]:
        """Return aiokafka's settings of a member of the group."""
        return {
            "group_id": self.group,
            "group_instance_id": self.instance,
            "partition_assignment_strategy": (assignor(self.protocol),),
            "heartbeat_interval_ms": HEARTBEAT_INTERVAL_MS,
        }


def _is_after(start: str | int | datetime, end: int | datetime | None) -> bool:
    if isinstance(start, datetime) and isinstance(end, datetime):
        return start.timestamp() > end.timestamp()
    return isinstance(start, int) and isinstance(end, int) and start > end


@dataclass
class EndOffsets:
    """Where each partition's reading ends, if the subscription has an end."""

    consumer: KafkaConsumer
    subscription: Subscription
    partitions: Collection[TopicPartition]
    _at_start: dict[TopicPartition, int] = field(default_factory=dict)
    _at_time: dict[TopicPartition, int] = field(default_factory=dict)
    _idle_since: float = 0.0

    @property
    def exist(self) -> bool:
        """Whether reading ends at all."""
        return self.subscription.exit_on_eof or self.subscription.until is not None

    async def begin(self, partitions: Collection[TopicPartition]) -> None:
        """Look up where partitions end when their reading begins, or starts again."""
        if self.subscription.exit_on_eof and partitions:
            self._at_start |= await self.consumer.end_offsets(partitions)

    async def reached(self) -> bool:
        """Return whether all partitions that are assigned are read up to their ends."""
        assignment = self.consumer.assignment()
        if not assignment:
            # A member that died unnoticed may still have some, which could be assigned to this one.
            self._idle_since = self._idle_since or time.monotonic()
            idle = time.monotonic() - self._idle_since
            return self.subscription.exit_on_eof and (not self.partitions or idle > MISSED_AFTER)
        self._idle_since = 0.0
        until, missing = self.subscription.until, sorted(assignment - self._at_time.keys())
        if missing and isinstance(until, datetime) and until.timestamp() <= time.time():
            self._at_time |= await start_offsets(self.consumer, missing, until)
        # In a rebalance, a partition is another member's meanwhile.
        with suppress(IllegalStateError):
            for partition in assignment:
                position = await self.consumer.position(partition)
                if position < self.of(partition) or await self._was_cut(partition, position):
                    return False
            return True
        return False

    async def _was_cut(self, partition: TopicPartition, position: int) -> bool:
        """Whether a partition ends before its position, which is then moved to its beginning."""
        if position <= self._at_start.get(partition, position):
            return False
        ends: dict[TopicPartition, int] = await self.consumer.end_offsets([partition])
        return position > ends[partition]

    def of(self, partition: TopicPartition) -> float:
        """Return the offset before which a partition ends; infinite without a known end."""
        end = math.inf if self.subscription.until is None else self.subscription.until
        if isinstance(end, datetime):
            end = self._at_time.get(partition, math.inf)
        at_start = self._at_start.get(partition, 0)
        return min(end, at_start) if self.subscription.exit_on_eof else end

    def left(
        self, partitions: Collection[TopicPartition], positions: Mapping[TopicPartition, int]
    ) -> int | None:
        """Return how many offsets there are up to the end; None without a known end."""
        left = [self.of(each) - positions.get(each, 0) for each in partitions]
        return int(sum(max(each, 0) for each in left)) if all(map(math.isfinite, left)) else None


async def start_offsets(
    consumer: KafkaConsumer, partitions: Sequence[TopicPartition], start: str | int | datetime
) -> dict[TopicPartition, int]:
    """Return the offset in each partition that ``earliest``, a time or another start means."""
    if not partitions:
        return {}
    if start == "earliest":
        return dict(await consumer.beginning_offsets(partitions))
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    if isinstance(start, datetime):
        times = dict.fromkeys(partitions, max(int(start.timestamp() * 1000), 0))
        found = await consumer.offsets_for_times(times)
        return {each: found[each].offset if found[each] else ends[each] for each in partitions}
    if isinstance(start, int):
        begins = await consumer.beginning_offsets(partitions)
        wanted = {each: start if start >= 0 else ends[each] + start for each in partitions}
        return {each: min(max(wanted[each], begins[each]), ends[each]) for each in partitions}
    return ends
