"""Messages to alerts: each decoded as far as is asked for, each cause of failure reported once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import Any, NamedTuple

from alertstream.alert.alert import Alert
from alertstream.avro.message_decoder import MessageDecoder
from alertstream.avro.schemas import Schema, Schemas
from alertstream.errors import Notice, UndecodableError
from alertstream.kafka.messages import Message

MAX_CAUSES = 100
"""Causes that are reported; further ones are only counted."""


class ReceivedAlert(Alert):
    """An alert with its ``message``: topic, partition, offset, timestamp (ms), value, headers."""

    def __init__(self, fields: dict[str, Any], message: Message) -> None:
        super().__init__(fields)
        self.message = message


class Undecodable(NamedTuple):
    """A message that cannot be decoded; ``cause`` is the same for all of its kind."""

    message: Message
    cause: str


class ReportedOnce:
    """Reports each cause of trouble once, and no more than ``MAX_CAUSES``."""

    def __init__(self, notice: Notice) -> None:
        self._notice = notice
        self._reported: set[str] = set()

    def __call__(self, cause: str, text: str) -> None:
        """Report ``text`` if its cause is new."""
        if cause not in self._reported and len(self._reported) < MAX_CAUSES:
            self._reported.add(cause)
            self._notice(text)


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
        self.undecodable = 0
        self._schemas = schemas
        self._decoder = MessageDecoder(schemas, paths, on_schema)
        self._notice = notice
        self._report = ReportedOnce(notice)

    async def ready(self, messages: Iterable[Message], stop: asyncio.Event) -> bool:
        """Wait until the schemas of messages are there; return False if ``stop`` came first.

        :raises RegistryError: the registry that has them refuses.
        """
        return await self._schemas.ready((each.value for each in messages), stop, self._notice)

    def decode(self, message: Message) -> ReceivedAlert | Undecodable:
        """Return a message's alert, or why there is none."""
        try:
            return ReceivedAlert(self._decoder.decode(message.value), message)
        except UndecodableError as error:
            return self.reject(message, error.what)

    def reject(self, message: Message, cause: str) -> Undecodable:
        """Count and report a message as undecodable."""
        self.undecodable += 1
        self._report(cause, f"undecodable message: {cause} · {message.position}")
        return Undecodable(message, cause)


async def decodable(
    batches: AsyncIterator[list[Message]], decoder: AlertDecoder, stop: asyncio.Event
) -> AsyncIterator[list[Message]]:
    """Yield a consumer's batches, each once the schemas of its messages are there, until ``stop``.

    Decoding is left to who takes them, message by message, since not every one may be wanted.

    :raises RegistryError: the registry that has the schemas refuses.
    """
    async for batch in batches:
        if not await decoder.ready(batch, stop):
            return
        yield batch
