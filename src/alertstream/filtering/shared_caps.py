"""Caps that all members of a consumer group share: they claim alerts in one topic of Kafka.

Members filter a visit's alerts concurrently, each those of its partitions. Until a cap is reached,
each batch with alerts that pass costs a round trip to ``GROUP-visit-caps``; afterwards nothing. A
member that starts reads the claims that are still kept, which begin where the metadata of each
committed offset says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256

from alertstream.errors import BrokerError, DeliveryError, Event, Notice
from alertstream.filtering.caps import Claim, VisitCaps, claims_start
from alertstream.filtering.filter_offsets import FilterOffsets
from alertstream.kafka.admin import make_topics
from alertstream.kafka.connection import Connection
from alertstream.kafka.consumer import Consumer
from alertstream.kafka.group_log import Log, LogReplacedError, log
from alertstream.kafka.messages import ConsumerGroupMetadata
from alertstream.kafka.topics import VISIT_CAPS_SUFFIX, TopicLayout, is_topic_name
from alertstream.reading.decoder import ReportedOnce
from alertstream.system.cancellation import unless_stopped


class SharedCaps:
    """Caps, and the log in which members of a group claim alerts.

    :param offsets: the filters' positions, stored in the same text as the start of the claims.
    :param notice: called when claims do not count any more, or are not valid.
    """

    def __init__(
        self, caps: VisitCaps, log: Log, offsets: FilterOffsets, notice: Notice = lambda text: None
    ) -> None:
        self._caps = caps
        self._offsets = offsets
        self._log = log
        self._topic = log.partition.topic
        self._notice = notice
        self._report = ReportedOnce(notice)
        self._restored_as: ConsumerGroupMetadata | None = None
        self._failed = False
        caps.begin(log.next, log.id)

    async def restore(self, consumer: Consumer) -> None:
        """Read the group's claims, once after each assignment; call it before a claim.

        The start of the claims is stored with the offset of each partition that is new to the
        group, where members that join later look for it.

        :raises DeliveryError: the log is gone, and could not be made again.
        :raises TimeoutError: Kafka did not answer within ``SHUTDOWN_TIMEOUT`` after the stop.
        """
        if self._failed:
            await self._make_log()
        if self._restored_as == consumer.group_metadata:
            return
        committed = await consumer.committed()
        found = {partition: claims_start(text) for partition, (_, text) in committed.items()}
        kept = {partition: begin for partition, begin in found.items() if begin is not None}
        if self._restored_as is None:
            self._tell_what_is_lost({log_id for _, log_id in kept.values()})
        # A recreated log has later claims only. With a cap, the visits of the slowest partition
        # count; without, only the latest source ids.
        begins = {
            partition: begin if log_id == self._log.id and begin <= self._log.next else 0
            for partition, (begin, log_id) in kept.items()
        }
        furthest = min if self._caps.cap else max
        first = furthest(begins.values(), default=self._caps.since)
        if first < self._caps.since:
            self._caps.begin(first, self._log.id)
            self._log.seek(first)
        text = partial(self._offsets.text, more=self._caps.as_metadata())
        await consumer.keep(text, consumer.assignment() - begins.keys())
        self._restored_as = consumer.group_metadata

    async def _make_log(self) -> None:
        try:
            await make_topics(self._log.connection, [self._topic], TopicLayout(1))
            await self._log.refresh()
        except BrokerError as error:
            raise DeliveryError(error.what, where=error.where, retriable=True) from error
        self._failed = False

    def _tell_what_is_lost(self, logs: set[str]) -> None:
        """Report that earlier claims do not count, by the logs that the offsets name.

        Nothing is said if the log is the first, or the same.
        """
        if logs - {self._log.id}:
            self._notice(f"{self._topic} was deleted and recreated: caps count what is there")
        elif not logs and not self._log.is_empty:
            where = f"what was claimed in {self._topic} does not count"
            self._notice(f"the group has no offsets any more: {where}")

    async def claim(self, claims: Sequence[Claim], stop: asyncio.Event) -> None:
        """Claim alerts, and learn which of the claims are granted.

        :param stop: once it is set, Kafka has ``SHUTDOWN_TIMEOUT`` to answer.
        :raises DeliveryError: that is unknown; they may be claimed nevertheless.
        """
        if not claims:
            return
        try:
            found = await unless_stopped(stop, self._log.append(self._caps.encode(claims)))
        except TimeoutError:
            text = "no answer in time: what was not written will be read again"
            raise DeliveryError(text, where=self._topic) from None
        except LogReplacedError:
            self._caps.begin(self._log.next, self._log.id)
            raise
        except DeliveryError:
            self._failed = True
            raise
        for at, value in found:
            try:
                self._caps.apply(self._caps.decode(value), at)
            except ValueError as error:
                self._caps.apply([], at)
                event = Event(f"{error} · {self._topic}@{at}", topic=self._topic, offset=at)
                self._report(str(error), event)
            # At a start there may be very many: let heartbeats through.
            await asyncio.sleep(0)


@asynccontextmanager
async def shared_caps(
    connection: Connection, group: str, caps: VisitCaps, offsets: FilterOffsets, notice: Notice
) -> AsyncIterator[SharedCaps | None]:
    """Share caps with the other members of a group, if there is anything to share.

    :raises TopicError: the topic for claims does not exist, and cannot be made.
    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    if not caps.are_shared:
        yield None
        return
    topic = caps_topic(group)
    await make_topics(connection, [topic], TopicLayout(1))
    async with log(connection, topic) as opened:
        yield SharedCaps(caps, opened, offsets, notice)


def caps_topic(group: str) -> str:
    """Return the topic that a group's members claim alerts in."""
    name = f"{group}{VISIT_CAPS_SUFFIX}"
    if is_topic_name(name):
        return name
    return f"{sha256(group.encode()).hexdigest()[:16]}{VISIT_CAPS_SUFFIX}"
