"""Caps that all members of a consumer group share: they claim alerts in one topic of Kafka.

Members filter a visit's alerts at the same time, each those of its partitions. While a cap is not
reached, each batch with alerts that pass costs a short message to ``GROUP-visit-caps`` and its way
back; afterwards nothing. A member that starts reads the claims that are still kept: where they
begin is in the metadata of each offset that is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256

from alertstream.errors import DeliveryError
from alertstream.filtering.caps import Claim, VisitCaps, begin_of_claims
from alertstream.filtering.filters import is_topic_name
from alertstream.kafka.admin import make_topics
from alertstream.kafka.connection import Connection
from alertstream.kafka.consumer import Consumer
from alertstream.kafka.group_log import Log, log
from alertstream.kafka.messages import ConsumerGroupMetadata
from alertstream.kafka.topics import VISIT_CAPS_SUFFIX, TopicLayout
from alertstream.system.cancellation import unless


class SharedCaps:
    """Caps, and the log in which members of a group claim alerts."""

    def __init__(self, caps: VisitCaps, log: Log) -> None:
        self._caps = caps
        self._log = log
        self._restored_as: ConsumerGroupMetadata | None = None
        caps.begin(log.next)

    async def restore(self, consumer: Consumer) -> None:
        """Let what the group has claimed count, once after each assignment; call it before a claim.

        Where the claims begin is kept with the offset of each partition that is new to the group,
        since members that join later look for it there.

        :raises TimeoutError: Kafka has not answered within ``SHUTDOWN_TIMEOUT`` after the stop.
        """
        if self._restored_as == consumer.group_metadata:
            return
        committed = await consumer.committed()
        found = {partition: begin_of_claims(text) for partition, (_, text) in committed.items()}
        begins = {partition: begin for partition, begin in found.items() if begin is not None}
        first = min(begins.values(), default=self._caps.since)
        if first < self._caps.since:
            self._caps.begin(first)
            self._log.seek(first)
        await consumer.keep(self._caps.as_metadata(), consumer.assignment() - begins.keys())
        self._restored_as = consumer.group_metadata

    async def claim(self, claims: Sequence[Claim], stop: asyncio.Event) -> None:
        """Claim alerts, and learn which of the claims are granted.

        :param stop: once it is set, Kafka has ``SHUTDOWN_TIMEOUT`` to answer.
        :raises DeliveryError: that is not known; they may be claimed all the same.
        """
        if not claims:
            return
        try:
            found = await unless(stop, self._log.append(self._caps.encode(claims)))
        except TimeoutError:
            text = "no answer in time: what was not written will be read again"
            raise DeliveryError(text, where=self._log.partition.topic) from None
        for at, value in found:
            self._caps.apply(self._caps.decode(value), at)


@asynccontextmanager
async def shared_caps(
    connection: Connection, group: str, caps: VisitCaps
) -> AsyncIterator[SharedCaps | None]:
    """Share caps with the other members of a group; without a limit there is nothing to share.

    :raises TopicError: the topic for claims does not exist, and cannot be made.
    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    if caps.cap == 0:
        yield None
        return
    topic = caps_topic(group)
    await make_topics(connection, [topic], TopicLayout(1))
    async with log(connection, topic) as opened:
        yield SharedCaps(caps, opened)


def caps_topic(group: str) -> str:
    """Return the topic that a group's members claim alerts in."""
    name = f"{group}{VISIT_CAPS_SUFFIX}"
    if is_topic_name(name):
        return name
    return f"{sha256(group.encode()).hexdigest()[:16]}{VISIT_CAPS_SUFFIX}"
