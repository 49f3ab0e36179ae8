"""Types of Kafka's protocol as all its newer versions have them, with tagged fields (KIP-482)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any

from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


_TYPES: dict[str, Any] = {
    **{"int8": Int8, "int16": Int16, "int32": Int32, "int64": Int64, "bool": Boolean},
    **{"text": CompactString("utf-8"), "bytes": CompactBytes, "uuid": _Uuid},
    "numbers": CompactArray(Int32),
}


def schema(fields: str, **arrays: CompactArray) -> Schema:
    """Return a schema of fields, as in ``name type, name type``, and of tagged ones."""
    pairs = (each.split() for each in fields.split(","))
    types = _TYPES | arrays
    return Schema(*((name, types[kind]) for name, kind in pairs), ("tags", TaggedFields))


class Records(CompactArray):  # type: ignore[misc]
    """An array of records; their tagged fields are left out, and not sent."""

    def __init__(self, fields: str, **arrays: CompactArray) -> None:
        super().__init__(schema(fields, **arrays))

    def encode(self, items: Iterable[Sequence[Any]] | None) -> bytes:
        sent: bytes = super().encode(None if items is None else [(*each, {}) for each in items])
        return sent

    def decode(self, data: BytesIO) -> list[tuple[Any, ...]]:
        return [each[:-1] for each in super().decode(data) or ()]
