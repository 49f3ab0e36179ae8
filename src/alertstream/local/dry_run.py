"""Filters tried on files, without Kafka: records are judged as the messages they would be sent as.

Nothing is written: there is the account, the first alerts that pass, and the time that it takes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from alertstream.alert.alert import Alert
from alertstream.avro.container import ContainerFile
from alertstream.avro.message_decoder import MessageDecoder
from alertstream.avro.schemas import Schema, Schemas, full_name, version_id
from alertstream.errors import DataError, UndecodableError
from alertstream.filtering.account import FilterCounts
from alertstream.filtering.engine import Judgement, Sieve
from alertstream.kafka.messages import Message
from alertstream.printing.lines import LineFormat
from alertstream.sending.encoders import Encoder, container_encoder, unchanged, wire_encoder

FIRST = 3
"""Alerts that are shown of what a filter lets through."""
READ_TOGETHER = 16
"""Messages that are read before they are judged."""
PRINTED = LineFormat()


@dataclass
class Rehearsal:
    """What filters did with files.

    :param counts: of each filter and visit, and at the end of each filter and all visits.
    :param first: for each filter, lines of the first alerts that passed.
    :param timed: alerts that were decoded and judged in ``seconds``: all but each file's first.
    :param prepared: those first ones, in ``preparing`` seconds, since there is more to do for them.
    :param error: why a file was not read to its end.
    """

    counts: list[FilterCounts] = field(default_factory=list)
    first: dict[str, list[str]] = field(default_factory=dict)
    timed: int = 0
    seconds: float = 0.0
    prepared: int = 0
    preparing: float = 0.0
    error: DataError | None = None

    @property
    def incomplete(self) -> bool:
        """Whether something could not be judged."""
        return any(each.undecodable or each.failed for each in self.counts)


def schemas_of(files: Sequence[Path]) -> list[Schema]:
    """Return the schemas that files of alerts have, each one's own.

    :raises DataError: a file is no container file.
    """
    found = []
    for path in files:
        with ContainerFile(path) as container:
            if not container.holds_messages:
                found.append(container.schema)
    return found


async def rehearse(
    files: Sequence[Path],
    sieve: Sieve,
    *,
    stop: asyncio.Event,
    notice: Callable[[str], None] = lambda text: None,
    progress: Callable[[float], None] = lambda share: None,
    printed: LineFormat = PRINTED,
) -> Rehearsal:
    """Judge all records of files, until ``stop``.

    :param progress: told how much is done, 0 to 1.
    :param printed: how the first that pass are shown.
    :raises DataError: a file is no container file; what comes before damage is judged.
    :raises RegistryError: the registry that has messages' schemas refuses.
    """
    found = Rehearsal(first={each.topic: [] for each in sieve.options.filters})
    decoder = MessageDecoder(sieve.schemas, printed.paths())
    for done, path in enumerate(files):

        def told(share: float, done: int = done) -> None:
            progress((done + share) / len(files))

        messages, together = _messages(path, sieve.schemas, found, told), 1
        while batch := [*islice(messages, together)]:
            if not await sieve.decoder.ready(batch, stop):
                break
            begin = time.perf_counter()
            judgements = [
                _decided(each, sieve) for each in sieve.judge(map(sieve.decoder.decode, batch))
            ]
            seconds = time.perf_counter() - begin
            # Decoding is prepared with a schema's first alert, which says nothing of the rest.
            if together == 1:
                found.preparing += seconds
                found.prepared += 1
            else:
                found.seconds += seconds
                found.timed += len(batch)
            together = READ_TOGETHER
            for judgement in judgements:
                _keep_first(judgement, decoder, found, printed.alert_line)
            # A signal has its turn.
            await asyncio.sleep(0)
            if stop.is_set():
                break
        if stop.is_set():
            break
    account = sieve.account
    found.counts = [*account.close_visits(all_of_them=True), *account.totals()]
    return found


def _decided(judgement: Judgement, sieve: Sieve) -> Judgement:
    """Return it decided and counted, as where nobody else claims anything."""
    sieve.caps.apply(judgement.claims)
    decided = sieve.decide(judgement)
    sieve.count(decided)
    return decided


def _messages(
    path: Path, schemas: Schemas, found: Rehearsal, progress: Callable[[float], None]
) -> Iterator[Message]:
    with ContainerFile(path) as container:
        encode = _encoder(container, schemas)
        try:
            for number, body in enumerate(container):
                yield Message(str(path), 0, number, 0, None, b"".join(encode(body)))
                progress(container.share_read)
        except DataError as error:
            found.error = found.error or error


def _encoder(container: ContainerFile, schemas: Schemas) -> Encoder:
    """Return how a file's messages are made: with their schema inside, if no id stands for it."""
    if container.holds_messages:
        return unchanged
    stated = version_id(full_name(container.schema))
    schema_id = container.schema_id if stated is None else stated
    if (
        schema_id is None
        or not schemas.known_in_advance
        or not schemas.has(schema_id, container.schema)
    ):
        return container_encoder(container.schema)
    return wire_encoder(schema_id)


def _keep_first(
    judgement: Judgement,
    decoder: MessageDecoder,
    found: Rehearsal,
    show: Callable[[Message, Alert], str],
) -> None:
    for topic, message, *_ in judgement.copies:
        lines = found.first.get(topic)
        if lines is None or len(lines) >= FIRST:
            continue
        try:
            alert = Alert(decoder.decode(message.value))
            lines.append(show(message, alert))
        except UndecodableError as error:
            lines.append(f"{message.position}  {error.what}")
