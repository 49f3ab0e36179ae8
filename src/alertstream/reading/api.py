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
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from alertstream.alert.fields import require_fields
from alertstream.alert.surveys import field_paths
from alertstream.avro.registry import schemas_from
from alertstream.errors import notice
from alertstream.kafka.connection import Connection
from alertstream.kafka.consumer import subscribe
from alertstream.kafka.messages import Message, Offsets, next_offsets
from alertstream.kafka.subscription import Subscription
from alertstream.reading.decoder import AlertDecoder, ReceivedAlert, decodable
from alertstream.reading.envelope import SingleSchema, schema_from

COMMIT_INTERVAL = 1.0
"""Seconds from one commit of a group's offsets to the next."""

_Batches = asyncio.Queue[Iterator[ReceivedAlert] | None]


def read(
    broker: str | Connection,
    topics: str | Sequence[str],
    *,
    group: str | None = None,
    start: str | int | datetime = "earliest",
    until: int | datetime | None = None,
    exit_on_eof: bool = False,
    fields: str | Collection[str] | None = None,
    schema: str | Path | None = None,
    schemas: str | Path | Sequence[str | Path] = (),
    registry: str | None = None,
    registry_login: tuple[str, str] | None = None,
) -> AlertStream:
    """Return the alerts of topics as they come, in order within a partition.

    With a group, an alert counts as done when the next one is requested, and offsets are committed
    every second: whatever ends the program, alerts that were not done are read again, and so is the
    one at which the loop was left; after a crash or a rebalance, those of the last second, too.
    Leaving the loop ends reading, when nothing refers to its iterator any more; ``aclose``, or
    ``async with contextlib.aclosing(read(…)) as alerts``, also waits for that.
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
    :raises UsageError: no schema has a field, or the start or end is not valid.
    :raises SchemaError: the schema that is given cannot be read, or is not valid.
    :raises TopicError: a topic does not exist.
    :raises BrokerError: Kafka cannot be reached, or refuses. A connection that is lost is restored.
    :raises RegistryError: the registry refuses. One that is not available is waited for.
    """
    names = (topics,) if isinstance(topics, str) else tuple(topics)
    wanted = [fields] if isinstance(fields, str) else fields
    paths = None if wanted is None else field_paths(wanted)
    known = schemas_from(schemas, registry, registry_login)
    if schema is not None:
        known = SingleSchema(schema_from(Path(schema)))
    require_fields(wanted or (), known, where="fields")
    decoder = AlertDecoder(known, paths, notice)
    subscription = Subscription(names, group, start, until, exit_on_eof)
    return AlertStream(partial(_read, Connection.to(broker), subscription, decoder))


class AlertStream(AsyncIterator[ReceivedAlert]):
    """Alerts, as :func:`read` returns them.

    A separate task reads, so that reading ends cleanly, whether the loop or the program ends.
    """

    def __init__(
        self, reading: Callable[[_Batches, asyncio.Event], Coroutine[Any, Any, None]]
    ) -> None:
        self._reading = reading
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._batches: _Batches = asyncio.Queue()
        self._batch: Iterator[ReceivedAlert] | None = None

    async def __anext__(self) -> ReceivedAlert:
        while True:
            if self._batch is not None:
                for alert in self._batch:
                    return alert
                self._batches.task_done()
            self._batch = await self._next_batch()

    async def _next_batch(self) -> Iterator[ReceivedAlert]:
        self._batch = None
        if self._task is None:
            self._task = asyncio.create_task(self._reading(self._batches, self._stop))
            batches = self._batches
            self._task.add_done_callback(lambda reading: batches.put_nowait(None))
        if (batch := await self._batches.get()) is not None:
            return batch
        # The next call finds the end again.
        self._batches.put_nowait(None)
        if not self._task.cancelled():
            self._task.result()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End reading: commit what was done, and leave the group."""
        self._stop.set()
        if self._task is not None:
            await asyncio.wait((self._task,))

    def __del__(self) -> None:
        if self._task is not None and not self._task.done():
            with suppress(RuntimeError):  # The loop is closed.
                self._task.get_loop().call_soon_threadsafe(self._stop.set)


async def _read(
    connection: Connection,
    subscription: Subscription,
    decoder: AlertDecoder,
    handed: _Batches,
    stop: asyncio.Event,
) -> None:
    """Hand over each batch's alerts, and commit what is done of them."""
    done: Offsets = {}
    async with subscribe(connection, subscription, stop=stop, notice=notice) as consumer:

        def alerts(batch: Sequence[Message]) -> Iterator[ReceivedAlert]:
            for message in batch:
                if consumer.is_outdated(consumer.group_metadata):
                    return
                alert = decoder.decode(message)
                if isinstance(alert, ReceivedAlert):
                    yield alert
                done.update(next_offsets((message,)))

        async def commit() -> None:
            offsets = done.copy()
            done.clear()
            with suppress(TimeoutError):
                await consumer.commit(offsets)

        async with (
            aclosing(consumer.batches(stop, before_rebalance=commit)) as batches,
            aclosing(decodable(batches, decoder, stop)) as ready,
        ):
            async for batch in ready:
                handed.put_nowait(alerts(batch))
                while not await _is_done(handed, stop):
                    await commit()
                await commit()


async def _is_done(handed: _Batches, stop: asyncio.Event) -> bool:
    """Return whether a batch is done or abandoned; False if it is time to commit."""
    ends = [asyncio.ensure_future(each) for each in (handed.join(), stop.wait())]
    try:
        done, _ = await asyncio.wait(ends, timeout=COMMIT_INTERVAL, return_when="FIRST_COMPLETED")
        return bool(done)
    finally:
        for each in ends:
            each.cancel()
