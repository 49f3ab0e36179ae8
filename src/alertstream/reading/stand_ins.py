"""Stand-ins on one cluster for topics that are read on another, which stays untouched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

from alertstream.errors import BrokerError
from alertstream.kafka.admin import make_stand_ins, require_topics
from alertstream.kafka.clients import ClientOf
from alertstream.kafka.connection import METADATA_MAX_AGE_MS, Connection
from alertstream.kafka.remote import remote_client


@asynccontextmanager
async def group_elsewhere(
    connection: Connection, names: Sequence[str], group_on: Connection
) -> AsyncIterator[ClientOf]:
    """Give a function that opens clients that read topics as members of a group elsewhere.

    :param names: of topics, or patterns; new topics and partitions are followed.
    :param group_on: the cluster that keeps the group.
    :raises TopicError: a topic does not exist, or its stand-in cannot be made.
    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    partitions: dict[str, int] = {}
    made: Mapping[str, int] = {}

    async def extend(there: Mapping[str, int]) -> None:
        nonlocal made
        if there != made:
            # First, since their stand-ins may be assigned at once.
            partitions.clear()
            partitions.update(there)
            await make_stand_ins(group_on, there)
            made = there

    async def follow() -> None:
        while True:
            await asyncio.sleep(METADATA_MAX_AGE_MS / 1000)
            # Their reader reports a lost connection.
            with suppress(BrokerError):
                await extend(await require_topics(connection, names))

    await extend(await require_topics(connection, names))
    following = asyncio.create_task(follow())
    try:
        yield partial(remote_client, group_on=group_on, partitions=partitions)
    finally:
        following.cancel()
