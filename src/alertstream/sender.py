"""Files to bursts to a topic: each record's bytes as they are, behind a header of five bytes.

One visit: its container file is opened, a task for each partition takes records from it and hands
them to the producer, and the visit is done when every one of them is acknowledged or has failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from alertstream.codec import Container, Decoder, container_packer
from alertstream.errors import AlertStreamError, DataError, UndecodableError, UsageError
from alertstream.kafka import DELIVERY_LIMIT, KafkaError, Producer, TooLargeError
from alertstream.records import Records
from alertstream.schemas import Schemas, write_schema
from alertstream.stopping import STOP_LIMIT
from alertstream.survey import Alert, field_paths, survey_of
from alertstream.topics import Topic
from alertstream.visits import Cadence, Clock, bursts
from alertstream.wire import pack


@dataclass(frozen=True)
class SendOptions:
    """What to send where, and when.

    :param files: one container file a visit, in the order in which they are sent.
    :param limit: alerts of a visit at most; 0 sends all.
    """

    topic: Topic
    files: Sequence[Path]
    cadence: Cadence = field(default_factory=Cadence)
    limit: int = 10_000


@dataclass
class VisitSent:
    """What became of one visit's alerts: ``planned == acknowledged + failed``.

    ``late`` are those acknowledged after the interval was over; ``bytes`` are those of the
    acknowledged messages; ``error`` says why some failed, or that the file is damaged.
    """

    visit: str
    file: str
    planned: int = 0
    acknowledged: int = 0
    failed: int = 0
    late: int = 0
    bytes: int = 0
    seconds: float = 0.0
    error: AlertStreamError | None = None

    @property
    def rate(self) -> float:
        """Acknowledged alerts a second."""
        return self.acknowledged / self.seconds if self.seconds else 0.0


Progress = Callable[[VisitSent, float], None]
"""Called as a visit is sent, with the share of its file that is read."""


Packer = Callable[[bytes], tuple[bytes, ...]]
"""Makes a message, in parts, of a record's bytes."""


def packers(
    files: Sequence[Path],
    schemas: Schemas,
    *,
    schema_id: int | None = None,
    folder: Path | None = None,
    subject: str | None = None,
) -> dict[Path, Packer]:
    """Look into every file before the first burst; return how each one's messages are made.

    They are in the wire format, but for the files of a survey that sends container files, and
    for files that hold whole messages, which are sent as they are.

    :param schema_id: id to send under, instead of the one that follows from a file's schema.
    :param folder: where to write the schema of a file, if ``schemas`` does not have it.
    :param subject: under which a registry has the schemas.
    :raises UsageError: there is an id for a file of whole messages.
    :raises DataError: a file is no container file.
    :raises SchemaError: no id follows from a file's schema, or it contradicts a known one.
    :raises RegistryError: the registry that says the ids cannot be reached, or refuses.
    """
    found: dict[Path, Packer] = {}
    for path in files:
        with Container(path) as container:
            schema, stated = container.schema, container.schema_id
        if container.holds_messages:
            if schema_id is not None:
                raise UsageError(
                    "the file holds whole messages, with their ids",
                    where=str(path),
                    todo="leave out --schema-id",
                )
            found[path] = as_it_is
            continue
        if schema_id is None and survey_of([each["name"] for each in schema["fields"]]).containers:
            found[path] = container_packer(schema)
            continue
        number = schemas.id_for(schema, subject, stated) if schema_id is None else schema_id
        found[path] = wire_packer(number)
        if folder and not schemas.has(number, schema):
            write_schema(schema, number, folder)
    return found


async def send(
    producer: Producer,
    options: SendOptions,
    packers: dict[Path, Packer],
    *,
    clock: Clock,
    stop: asyncio.Event,
    progress: Progress = lambda visit, share: None,
    report: Callable[[VisitSent], None] = lambda visit: None,
) -> VisitSent:
    """Send all visits, each when it is due, and return their sum.

    A damaged file ends its visit, not the stream: what comes before the damage is sent.

    :param report: called when a visit is done.
    """
    total = VisitSent(visit="", file="")
    async for path, start in bursts(options.files, options.cadence, clock, stop):
        deadline = start + (options.cadence.interval or float("inf"))
        burst = _Burst(producer, options.topic, packers[path], clock, deadline, stop)
        visit = await burst.send(path, options.limit, progress)
        report(visit)
        _add(total, visit)
    return total


def visit_line(visit: VisitSent) -> str:
    """Return what became of one visit, or of all, in a line."""
    extra = "".join(
        f", {count} {name}"
        for name, count in (("failed", visit.failed), ("late", visit.late))
        if count
    )
    return (
        f"{visit.acknowledged} of {visit.planned} alerts acknowledged{extra}, "
        f"{visit.bytes / 1e6:,.1f} MB in {visit.seconds:.2f} s ({visit.rate:.0f}/s)"
    )


def _add(total: VisitSent, visit: VisitSent) -> None:
    for name in ("planned", "acknowledged", "failed", "late", "bytes", "seconds"):
        setattr(total, name, getattr(total, name) + getattr(visit, name))
    total.error = total.error or visit.error


def wire_packer(schema_id: int) -> Packer:
    """Return what puts the header with a schema's id before a record's bytes."""
    header = pack(schema_id, b"")
    return lambda body: (header, body)


def as_it_is(message: bytes) -> tuple[bytes, ...]:
    """Return the one part of a message that is whole."""
    return (message,)


@dataclass
class _Burst:
    """Sends one visit's file."""

    producer: Producer
    topic: Topic
    packer: Packer
    clock: Clock
    deadline: float
    stop: asyncio.Event
    in_flight: set[asyncio.Future[Any]] = field(default_factory=set)
    last_answer: float = 0.0
    first_cause: BaseException | None = None
    gave_up: BaseException | None = None

    async def send(self, path: Path, limit: int, progress: Progress) -> VisitSent:
        await self.producer.mend()
        begin = self.last_answer = self.clock.now()
        with Container(path) as container:
            visit = VisitSent(visit=path.stem, file=str(path))
            bodies = self._bodies(container, visit, limit, progress)
            feeds = [
                asyncio.create_task(self._feed(bodies, partition, visit))
                for partition in range(self.topic.partitions)
            ]
            await self._end_of(feeds)
        visit.seconds = self.clock.now() - begin
        progress(visit, 1.0)
        return visit

    def _bodies(
        self, container: Container, visit: VisitSent, limit: int, progress: Progress
    ) -> Iterator[bytes]:
        """Yield the records to send; a damaged file ends them."""
        try:
            for body in islice(container, limit or None):
                if self.stop.is_set():
                    return
                if visit.planned == 0:
                    visit.visit = _visit_of(container, body) or visit.visit
                visit.planned += 1
                yield body
                progress(visit, container.share_read)
        except DataError as error:
            visit.error = error

    async def _feed(self, bodies: Iterator[bytes], partition: int, visit: VisitSent) -> None:
        """Send records to one partition, a batch after the other, as fast as it takes them."""
        records = self.producer.records()
        for body in bodies:
            message = self.packer(body)
            if records.count and records.size + sum(map(len, message)) > self.topic.batch_size:
                await self._hand_over(records, partition, visit)
                records = self.producer.records()
            records.append(int(self.clock.now() * 1000), message)
        if records.count:
            await self._hand_over(records, partition, visit)

    async def _hand_over(self, records: Records, partition: int, visit: VisitSent) -> None:
        if self.gave_up:
            self._fail(visit, self.gave_up, records.count)
            return
        try:
            future = await self.producer.send(self.topic, partition, records)
        except TooLargeError as error:
            self._fail(visit, error, records.count)
        except KafkaError as error:
            self.gave_up = error
            self._fail(visit, error, records.count)
        except asyncio.CancelledError:
            self.gave_up = TimeoutError("no answer")
            self._fail(visit, self.gave_up, records.count)
        else:
            self.in_flight.add(future)
            future.add_done_callback(self._tally(visit, records))

    def _fail(self, visit: VisitSent, error: BaseException, count: int) -> None:
        visit.failed += count
        self.first_cause = self.first_cause or error
        visit.error = self.producer.failed(self.first_cause, visit.failed)

    async def _end_of(self, feeds: Sequence[asyncio.Task[None]]) -> None:
        """Return when all is handed over and answered, or there has been no answer for too long."""
        while waiting := {*self.in_flight, *(feed for feed in feeds if not feed.done())}:
            await asyncio.wait(waiting, timeout=1.0)
            limit = STOP_LIMIT if self.stop.is_set() else DELIVERY_LIMIT
            if self.clock.now() - self.last_answer > limit:
                for each in waiting:
                    each.cancel()
        for feed in feeds:
            feed.result()

    def _tally(self, visit: VisitSent, records: Records) -> Callable[[asyncio.Future[Any]], None]:
        def answered(future: asyncio.Future[Any]) -> None:
            self.in_flight.discard(future)
            self.last_answer = self.clock.now()
            if future.cancelled():
                self._fail(visit, TimeoutError("no answer"), records.count)
            elif error := future.exception():
                self._fail(visit, error, records.count)
            else:
                visit.acknowledged += records.count
                visit.bytes += records.value_bytes
                visit.late += records.count if self.last_answer > self.deadline else 0

        return answered


def _visit_of(container: Container, body: bytes) -> str | None:
    """Return the visit that a file's first alert names."""
    if container.holds_messages:
        return None
    try:
        visit = Alert(Decoder(container.schema, field_paths(["visit"])).decode(body)).visit
    except UndecodableError:
        return None
    return None if visit is None else str(visit)
