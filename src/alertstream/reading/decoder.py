"""Messages to alerts: only wanted fields are decoded, each cause of failure is reported once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from alertstream.alert.alert import Alert
from alertstream.alert.surveys import not_in_schema, survey_of
from alertstream.alert.surveys.survey import UNKNOWN, Survey
from alertstream.avro.decoder import Decoder
from alertstream.avro.schemas import Schema, Schemas
from alertstream.errors import Event, Notice, SchemaError, UndecodableError
from alertstream.kafka.messages import Message, Unreadable
from alertstream.reading.envelope import SchemaKey, is_schema, opened, schema_of

MAX_CAUSES = 100
"""Causes that are reported; further ones are only counted."""
MAX_DECODERS = 32
"""Schemas whose decoders are kept; messages may carry any number of them."""

DECODING_TIMEOUT = 5.0
"""Seconds, without a heartbeat to the group, that a message may take once, and never again."""


class ReceivedAlert(Alert):
    """An alert with its ``message``: topic, partition, offset, timestamp (ms), value, headers.

    Its ``matches`` are what it matched in the filters that passed it.
    """

    def __init__(
        self, fields: dict[str, Any], message: Message, survey: Survey | None = None
    ) -> None:
        super().__init__(fields, survey)
        self.message = message

    def _matches_that_came(self) -> list[dict[str, Any]]:
        return self.message.matches


class Undecodable(NamedTuple):
    """A message that cannot be decoded; ``cause`` has the same words for all such messages."""

    message: Message
    cause: str


class ReportedOnce:
    """Reports each cause of trouble once, and no more than ``MAX_CAUSES``."""

    def __init__(self, notice: Notice) -> None:
        self._notice = notice
        self._reported: set[str] = set()

    def __call__(self, cause: str, text: str | None = None) -> None:
        """Report ``text`` if its cause is new; without, the cause is the text."""
        if cause not in self._reported and len(self._reported) < MAX_CAUSES:
            self._reported.add(cause)
            self._notice(text or cause)


class AlertDecoder:
    """Decodes messages; counts those that cannot be decoded, and reports each cause once.

    :param paths: dotted paths of the fields to decode; None decodes everything.
    :param notice: called with a line for the user.
    :param on_schema: called with each schema when its first message comes.
    """

    def __init__(
        self,
        schemas: Schemas,
        paths: Collection[str] | None = None,
        notice: Notice = lambda text: None,
        on_schema: Callable[[Schema], None] = lambda schema: None,
    ) -> None:
        self.undecodable: Counter[str] = Counter()
        """Messages that cannot be decoded, by topic."""
        self._schemas = schemas
        self._paths = paths
        self._on_schema = on_schema
        self._decoders: dict[SchemaKey, tuple[Decoder, Survey]] = {}
        self._notice = notice
        self._report = ReportedOnce(notice)
        self._slow: set[str] = set()
        self._begin = time.thread_time()

    async def ready(self, messages: Iterable[Message], stop: asyncio.Event) -> bool:
        """Wait until the schemas of messages are there; return False if ``stop`` came first.

        :raises RegistryError: the registry that has them refuses.
        """
        self._begin = time.thread_time()
        values = (each.value for each in messages if not is_schema(each.key))
        return await self._schemas.ready(values, stop, self._notice)

    def decode(self, message: Message) -> ReceivedAlert | Undecodable:
        """Return a message's alert, or why there is none.

        A message that takes so long that the group may have given us up is not decoded again.
        """
        if self._slow and message.position in self._slow:
            return self.reject(message, "takes too long to decode")
        begin, found = time.monotonic(), self._decoded(message)
        # Processor time, too: a process that was frozen meanwhile has used none.
        if (
            time.monotonic() - begin > DECODING_TIMEOUT
            and time.thread_time() - self._begin > DECODING_TIMEOUT
        ):
            self._slow.add(message.position)
        return found

    def _decoded(self, message: Message) -> ReceivedAlert | Undecodable:
        try:
            decoder, survey, body, start = self._opened(message.value, message.key)
            return ReceivedAlert(decoder.decode(body, start), message, survey)
        except UndecodableError as error:
            return self.reject(message, error.what)

    def fields_of(self, value: bytes | None, key: bytes | None = None) -> dict[str, Any]:
        """Return the wanted fields of the alert in a message's value and key.

        :raises UndecodableError: it is not an alert, or its schema is unknown.
        """
        decoder, _, body, start = self._opened(value, key)
        return decoder.decode(body, start)

    def _opened(self, value: bytes | None, key: bytes | None) -> tuple[Decoder, Survey, bytes, int]:
        """Return a message's decoder, its survey, and bytes with its body's place."""
        if isinstance(value, Unreadable):
            raise UndecodableError(value.cause)
        schema, body, start = opened(value, key, self._schemas)
        decoder, survey = self._decoders.get(schema) or self._new_decoder(
            schema, "the schema in the key: " if body is value else "container file: "
        )
        return decoder, survey, body, start

    def _new_decoder(self, key: SchemaKey, where: str) -> tuple[Decoder, Survey]:
        try:
            schema = schema_of(key, self._schemas)
            decoder = Decoder(schema, self._paths)
        except SchemaError as error:
            where = "" if isinstance(key, int) else where
            raise UndecodableError(f"{where}{error.what}") from error
        if len(self._decoders) == MAX_DECODERS:
            self._decoders.clear()
        self._on_schema(schema)
        survey = survey_of(schema)
        self._report_survey(survey, schema)
        return self._decoders.setdefault(key, (decoder, survey))

    def _report_survey(self, survey: Survey, schema: Schema) -> None:
        """Say once what a schema's alerts lack."""
        if survey is UNKNOWN:
            name = schema["name"]
            what = f"{name} is no known survey's schema: its alerts have fields, but no quantities"
            self._report(f"survey {name}", f"{what}; --survey FILE adds a survey's table")
        for path in not_in_schema(survey, schema):
            what = f"the table of {survey.name} names {path}, which {schema['name']} does not have"
            self._report(f"table {survey.name} {path}", what)

    def reject(self, message: Message, cause: str) -> Undecodable:
        """Count and report a message as undecodable."""
        self.undecodable[message.topic] += 1
        text = f"undecodable message: {cause} · {message.position}"
        self._report(cause, Event(text, **message.place, cause=cause))
        return Undecodable(message, cause)


class LenientDecoder(AlertDecoder):
    """Takes what cannot be decoded as an alert without fields."""

    def _decoded(self, message: Message) -> ReceivedAlert | Undecodable:
        if isinstance(message.value, Unreadable):
            return super()._decoded(message)
        fields: dict[str, Any] = {}
        if self._paths:
            with suppress(UndecodableError):
                fields = self.fields_of(message.value, message.key)
        return ReceivedAlert(fields, message)


async def decodable(
    batches: AsyncIterator[list[Message]], decoder: AlertDecoder, stop: asyncio.Event
) -> AsyncGenerator[list[Message], None]:
    """Yield a consumer's batches, each once the schemas of its messages are there, until ``stop``.

    The caller decodes message by message, since it may not want every one.

    :raises RegistryError: the registry that has the schemas refuses.
    """
    async for batch in batches:
        if not await decoder.ready(batch, stop):
            return
        yield batch
