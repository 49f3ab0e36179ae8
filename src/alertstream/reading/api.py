"""Alert streams for Python programs: an asynchronous iterator of alerts.

::

    import asyncio
    import alertstream

    async def main():
        async for alert in alertstream.read("localhost:9092", "alerts", fields=["snr", "band"]):
            follow_up(alert.message.offset, alert.snr, alert.band)

    asyncio.run(main())
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from alertstream.alert.surveys import field_paths
from alertstream.avro.registry import schemas_from
from alertstream.kafka.connection import Connection
from alertstream.kafka.consumer import subscribe
from alertstream.kafka.messages import Offsets, next_offsets
from alertstream.kafka.subscription import Subscription
from alertstream.reading.decoder import AlertDecoder, ReceivedAlert, decodable
from alertstream.reading.envelope import GivenSchemas, schema_from

COMMIT_INTERVAL = 1.0
"""Seconds from one commit of a group's offsets to the next."""

_log = logging.getLogger("alertstream")


async def read(
    broker: str | Connection,
    topics: str | Sequence[str],
    *,
    group: str | None = None,
    start: str | int | datetime = "earliest",
    until: int | datetime | None = None,
    exit_on_eof: bool = False,
    fields: Collection[str] | None = None,
    schema: str | Path | None = None,
    schemas: str | Path | Sequence[str | Path] = (),
    registry: str | None = None,
    registry_login: tuple[str, str] | None = None,
) -> AsyncIterator[ReceivedAlert]:
    """Yield the alerts of topics as they come, in order within a partition.

    With a group, an alert counts as done when the next one is requested, and offsets are committed
    every second: whatever ends the program, alerts that were not done are read again, and so is the
    one at which the loop was left; after a crash or a rebalance, those of the last second, too.
    Messages that cannot be decoded are skipped, and logged as a warning of ``alertstream``, once
    per cause.

    :param topics: a name or several, or patterns such as ``ztf_*``.
    :param group: consumer group that remembers what was done; None remembers nothing.
    :param start: where to start without a committed offset: ``earliest``, ``latest``, a time, or
        an offset (a negative one counts from the end).
    :param until: where to end: before an offset of each partition, or before the first message of
        a time.
    :param exit_on_eof: end where the partitions ended when reading began.
    :param fields: quantities and dotted paths to decode, as of a filter; None decodes everything,
        which takes many times as long.
    :param schema: file with the one schema of all messages, with or without a header: ``.avsc``,
        or a file of alerts.
    :param schemas: folders of ``.avsc`` files, besides the package's own schemas.
    :param registry: URL of a schema registry that says what an id means.
    :param registry_login: user name and password for it.
    :raises SchemaError: the schema that is given cannot be read, or is not valid.
    :raises TopicError: a topic does not exist.
    :raises BrokerError: Kafka cannot be reached, or refuses. A connection that is lost is restored.
    :raises RegistryError: the registry refuses. One that is not available is waited for.
    """
    names = (topics,) if isinstance(topics, str) else tuple(topics)
    paths = None if fields is None else field_paths(fields)
    known = schemas_from(schemas, registry, registry_login)
    if schema is not None:
        known = GivenSchemas(schema_from(Path(schema)))
    decoder = AlertDecoder(known, paths, _log.warning)
    subscription = Subscription(names, group, start, until, exit_on_eof)
    stop = asyncio.Event()
    done: Offsets = {}
    async with subscribe(Connection.to(broker), subscription, notice=_log.warning) as consumer:

        async def commit() -> None:
            offsets = done.copy()
            done.clear()
            await consumer.commit(offsets)

        try:
            batches = consumer.batches(stop, before_rebalance=commit)
            async for batch in decodable(batches, decoder, stop):
                begin = time.monotonic()
                for message in batch:
                    if consumer.is_outdated(consumer.group_metadata):
                        break
                    alert = decoder.decode(message)
                    if isinstance(alert, ReceivedAlert):
                        yield alert
                    done |= next_offsets((message,))
                    if time.monotonic() - begin > COMMIT_INTERVAL:
                        await commit()
                        begin = time.monotonic()
                await commit()
        finally:
            # From here on, Kafka has a limited time to take the offsets.
            stop.set()
            with suppress(TimeoutError):
                await commit()
