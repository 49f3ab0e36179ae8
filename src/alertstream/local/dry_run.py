"""Filters tried on files, without Kafka: records are filtered as the messages that ``send`` makes.

Nothing is written: the result is the account, the first alerts that pass, and the time per alert.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from alertstream.avro.container.file import ContainerFile
from alertstream.avro.schemas import Schema, Schemas, version_id
from alertstream.errors import DataError, Notice, UndecodableError, printable
from alertstream.filtering.account import FilterAccount, FilterCounts
from alertstream.filtering.engine import FilterEngine
from alertstream.filtering.pipeline import FilterOptions, alert_decoder
from alertstream.kafka.messages import Copy, Message
from alertstream.local.pass_rates import PassRates
from alertstream.printing.lines import LineFormat
from alertstream.reading.decoder import AlertDecoder, Undecodable
from alertstream.sending.visits.encoders import Encoder, container_encoder, unchanged, wire_encoder

MAX_SHOWN = 3
"""Alerts per filter that are kept for show."""
BATCH = 16
"""Messages that are read before they are filtered."""


@dataclass
class DryRun:
    """What filters did with files.

    :param rates: the shares that pass.
    :param first: the first messages that pass, by the filter's topic.
    :param counts: of each filter and visit, and at the end of each filter and all messages.
    :param timed: alerts that took ``seconds``: all but each file's first, which sets up decoding.
    :param error: why a file was not read to its end.
    """

    rates: PassRates
    first: dict[str, list[Message]]
    counts: list[FilterCounts] = field(default_factory=list)
    timed: int = 0
    seconds: float = 0.0
    error: DataError | None = None

    @property
    def incomplete(self) -> bool:
        """Whether something could not be decoded, or a filter's code failed."""
        return any(each.undecodable or each.failed for each in self.counts)

    @property
    def time_line(self) -> str:
        """How long decoding an alert and running all filters took."""
        if not self.timed:
            return "too few alerts to say how long one takes"
        each = self.seconds / self.timed * 1e6
        return f"{each:,.0f} µs per alert to decode it and run all filters"

    def first_lines(self, schemas: Schemas, lines: LineFormat) -> dict[str, list[str]]:
        """Return the first alerts that pass as lines, by the filter's topic."""
        decoder = AlertDecoder(schemas, lines.paths())

        def line(message: Message) -> str:
            alert = decoder.decode(message)
            try:
                if isinstance(alert, Undecodable):
                    raise UndecodableError(alert.cause)
                return lines.alert_line(message, alert)
            except UndecodableError as error:
                return f"{printable(message.position)}  {error.what}"

        return {topic: [*map(line, messages)] for topic, messages in self.first.items()}


def schemas_of(files: Sequence[Path]) -> list[Schema]:
    """Return the schemas of files of alerts.

    :raises DataError: a file is not a container file.
    """
    found = []
    for path in files:
        with ContainerFile(path) as container:
            if not container.holds_messages:
                found.append(container.schema)
    return found


async def dry_run(
    files: Sequence[Path],
    options: FilterOptions,
    schemas: Schemas,
    *,
    stop: asyncio.Event,
    notice: Notice = lambda text: None,
    progress: Callable[[float], None] = lambda share: None,
) -> DryRun:
    """Filter all records of files, until ``stop``.

    :param options: what to run; how to write is ignored.
    :param progress: called with how much is done, 0 to 1.
    :raises DataError: a file is not a container file; if it is damaged, that is in the result.
    :raises RegistryError: the registry that has messages' schemas refuses.
    """
    topics, filters = options.topics, options.filters
    caps, account = options.caps(), FilterAccount(topics)
    engine = FilterEngine(filters, caps, notice)
    decoder = alert_decoder(filters, schemas, notice, unique=options.unique)
    found = DryRun(PassRates(topics, schemas), {topic: [] for topic in topics})
    for batch in _batches(files, schemas, found, progress):
        if not await decoder.ready(batch, stop):
            break
        begin, copies, seen = time.perf_counter(), list[Copy](), 0
        for judged in engine.judge(map(decoder.decode, batch)):
            caps.apply(judged.claims)
            decided = engine.decide(judged)
            account.add(decided.counts(), decided.undecodable)
            copies += decided.copies
            seen += len(judged.messages)
            for copy in decided.copies:
                if copy.topic in topics and len(found.first[copy.topic]) < MAX_SHOWN:
                    found.first[copy.topic].append(copy.message)
            # Let signals through.
            await asyncio.sleep(0)
            if stop.is_set():
                break
        if batch[0].offset:
            found.timed += len(batch)
            found.seconds += time.perf_counter() - begin
        found.rates.add(batch[:seen], copies)
        if stop.is_set():
            break
    found.counts = [*account.close_visits(all_of_them=True), *account.totals()]
    return found


def _batches(
    files: Sequence[Path], schemas: Schemas, found: DryRun, progress: Callable[[float], None]
) -> Iterator[list[Message]]:
    """Yield the first message of each file, then its others in batches."""
    for done, path in enumerate(files):
        with ContainerFile(path) as container:
            messages, size = _messages(container, _encoder(container, schemas), found), 1
            while batch := [*islice(messages, size)]:
                yield batch
                progress((done + container.share_read) / len(files))
                size = BATCH


def _messages(container: ContainerFile, encode: Encoder, found: DryRun) -> Iterator[Message]:
    try:
        for number, body in enumerate(container):
            yield Message(str(container.path), 0, number, 0, None, b"".join(encode(body)))
    except DataError as error:
        found.error = found.error or error


def _encoder(container: ContainerFile, schemas: Schemas) -> Encoder:
    """Return a file's encoder: its messages contain their schema, unless its id is known."""
    schema = container.schema
    if container.holds_messages:
        return unchanged
    stated = version_id(schema["name"])
    schema_id = container.schema_id if stated is None else stated
    if schema_id is not None and schemas.known_in_advance and schemas.has(schema_id, schema):
        return wire_encoder(schema_id)
    return container_encoder(schema)
