"""Bounds of decoding, known from the schema before a byte is read: fastavro is uninterruptible.

A few bytes of a schema can name a type that has billions of fields, and a few of an alert can make
thousands of values: either would block a reader for minutes, or take all memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from alertstream.errors import SchemaError

MAX_LEVELS = 32
"""How deep types may be nested in a schema; LSST's have 5 levels."""
MAX_TYPES = 50_000
"""Types in a schema once each is written out wherever it is named; LSST's have 500 to 2,000."""
MAX_BRANCHES = 16
"""Types in a union, which are searched for each of its values."""
MAX_DECODED = 96 * 1024 * 1024
"""Bytes of memory that an alert's values may take; one that could is counted as it is read."""
MAX_PER_BYTE = 1600
"""Bytes of memory that a byte of an alert may take; LSST's take less than 100."""
_LEAST_PER_BYTE = 100

_TOO_DEEP = f"a schema nested deeper than {MAX_LEVELS} levels"

# Memory in bytes, or the time that it takes to fill so much.
_OBJECT, _SLOT, _NUMBER = 100, 50, 40
_CONTAINER = 2 * _OBJECT


class _Type(Protocol):
    """What counts of :class:`alertstream.avro.schema_tree.Type`."""

    @property
    def kind(self) -> str: ...
    @property
    def schema(self) -> Any: ...
    @property
    def inside(self) -> Sequence[_Type]: ...
    @property
    def fields(self) -> Sequence[tuple[str, _Type, Any]]: ...


def require_shallow(node: Any, levels: int = 4 * MAX_LEVELS) -> None:
    """Check that a schema's JSON is not nested deeper than its parsers can recurse.

    :raises SchemaError: it is.
    """
    if levels == 0:
        raise SchemaError(_TOO_DEEP)
    if isinstance(node, dict):
        node = [value for key, value in node.items() if not key.startswith("__")]
    for each in node if isinstance(node, list) else ():
        require_shallow(each, levels - 1)


def memory_per_byte(root: _Type) -> int:
    """Return how many bytes of memory each byte of an alert may take, besides ``MAX_DECODED``.

    :raises SchemaError: it is too many, or the schema too deep or too large.
    """
    _require_size(root, {})
    per_byte = _LEAST_PER_BYTE
    while (surplus := _surplus(root, per_byte, {})) is None:
        per_byte += per_byte // 4
        if per_byte > MAX_PER_BYTE:
            raise SchemaError("a schema with items that take next to no bytes")
    if surplus > MAX_DECODED // 10:
        raise SchemaError("a schema of values that take no bytes")
    return per_byte


def _require_size(node: _Type, known: dict[_Type, tuple[int, int]]) -> tuple[int, int]:
    """Return how many levels a type has, and how many types once all are written out."""
    if node not in known:
        inside = [_require_size(each, known) for each in node.inside]
        levels = 1 + max((levels for levels, _ in inside), default=0)
        types = 1 + sum(types for _, types in inside)
        if levels > MAX_LEVELS:
            raise SchemaError(_TOO_DEEP)
        if types > MAX_TYPES or (node.kind == "union" and len(inside) > MAX_BRANCHES):
            raise SchemaError("a schema of too many types")
        known[node] = levels, types
    return known[node]


def _surplus(node: _Type, per_byte: int, known: dict[_Type, int | None]) -> int | None:
    """Return how much memory a value takes at most beyond ``per_byte`` for each of its bytes.

    None if there may be any number of items that each take more than that.
    """
    if node not in known:
        inside = [_surplus(each, per_byte, known) for each in node.inside]
        sizes = [each for each in inside if each is not None]
        known[node] = _own(node, sizes, per_byte) if len(sizes) == len(inside) else None
    return known[node]


def _own(node: _Type, inside: list[int], per_byte: int) -> int | None:
    match node.kind:
        case "record":
            return _OBJECT + sum(_SLOT + len(name) for name, *_ in node.fields) + sum(inside)
        case "union":
            return max(inside, default=0) - per_byte
        case "array":
            return _CONTAINER - per_byte if inside[0] + _SLOT <= 0 else None
        case "map":
            # Each key takes a byte at least.
            least = inside[0] + _OBJECT + _SLOT - per_byte
            return _CONTAINER - per_byte if least <= 0 else None
        case "null":
            return 0
        case "fixed" if not (isinstance(node.schema["size"], int) and node.schema["size"] >= 0):
            raise SchemaError("a schema with a fixed type of no size")
        case "fixed" if node.schema["size"] == 0:
            return _NUMBER
        case "enum":
            return _NUMBER + max(map(len, node.schema["symbols"]), default=0) - per_byte
    logical = isinstance(node.schema, dict) and "logicalType" in node.schema
    return _NUMBER + (_CONTAINER if logical else 0) - per_byte
