"""What breaks consumers, among a visit's messages: some undecodable, some merely unexpected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from random import Random

from fastavro import schemaless_writer

from alertstream.avro.schemas import Schema
from alertstream.avro.wire import HEADER_SIZE, pack
from alertstream.errors import UsageError
from alertstream.local.simulate.records import Values

UNDECODABLE = ("truncated", "trailing", "unknown-id", "no-header", "garbage", "empty")
"""Kinds of faults that nobody can decode."""
FAULTS = (*UNDECODABLE, "oversize", "duplicate", "schema-change")
MANIFEST = "faults.jsonl"
"""The file beside the visits that says which messages are faults."""
UNKNOWN_ID = 999_999
OVERSIZE = 2 * 1024 * 1024
"""Bytes on top of an alert's own; Kafka's topics and clients take 1 MiB unless told otherwise."""


@dataclass(frozen=True)
class Faults:
    """Which faults each visit gets, one of each kind.

    :param kinds: of ``FAULTS``.
    :param schema: the schema of all other alerts, and its id.
    :param other: schema and id of the one that a ``schema-change`` has.
    """

    kinds: Sequence[str]
    schema_id: int
    other: tuple[Schema, int]

    def drawn(self, rng: Random, alerts: int) -> dict[int, str]:
        """Return which alerts of a visit (from 0) become which faults.

        :raises UsageError: there are fewer alerts than faults.
        """
        if len(self.kinds) > alerts:
            raise UsageError(
                f"a visit of {alerts} alerts cannot have {len(self.kinds)} faults",
                todo="give more --alerts",
            )
        return dict(zip(rng.sample(range(alerts), len(self.kinds)), self.kinds, strict=True))

    def messages(
        self, alerts: Iterable[Values], schema: Schema, kinds: dict[int, str], rng: Random
    ) -> Iterator[tuple[bytes, str | None]]:
        """Yield a visit's messages, each with the kind of fault that it is.

        :param kinds: which alerts become which faults; that of a ``schema-change`` is a record
            of the other schema.
        """
        for number, alert in enumerate(alerts):
            kind = kinds.get(number)
            written_with = self.other if kind == "schema-change" else (schema, self.schema_id)
            if kind == "oversize":
                alert["cutoutTemplate"] += bytes(OVERSIZE)
            message = _packed(alert, *written_with)
            if kind == "duplicate":
                yield message, None
            yield _damaged(message, kind, rng) if kind in UNDECODABLE else message, kind


def _packed(alert: Values, schema: Schema, schema_id: int) -> bytes:
    body = BytesIO()
    schemaless_writer(body, schema, alert)
    return pack(schema_id, body.getvalue())


def _damaged(message: bytes, kind: str | None, rng: Random) -> bytes:
    body = message[HEADER_SIZE:]
    match kind:
        case "truncated":
            return message[: len(message) * 2 // 3]
        case "trailing":
            return message + rng.randbytes(100)
        case "unknown-id":
            return pack(UNKNOWN_ID, body)
        case "no-header":
            return body
        case "garbage":
            return message[:HEADER_SIZE] + rng.randbytes(len(body))
        case _:
            return b""
