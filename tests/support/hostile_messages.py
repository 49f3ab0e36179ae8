"""Messages that carry a schema of their own, whatever it is, and its body, compressed or not."""

from __future__ import annotations

import bz2
import json
import lzma
import zlib
from collections.abc import Callable
from typing import Any

import cramjam

from alertstream.avro.wire import varint


def carried(schema: Any, body: bytes = b"", codec: str = "null", count: int = 1) -> bytes:
    """A container file of one block, of whatever schema."""
    text = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    meta = {"avro.schema": text, "avro.codec": codec.encode()}
    packed = [varint(len(each)) + each for pair in meta.items() for each in map(as_bytes, pair)]
    start = b"Obj\x01" + varint(len(meta)) + b"".join(packed) + b"\0" + bytes(16)
    return start + varint(count) + varint(len(body)) + body + bytes(16)


def as_bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def record(*types: Any, name: str = "r") -> dict[str, Any]:
    fields = [{"name": f"f{number}", "type": kind} for number, kind in enumerate(types)]
    return {"type": "record", "name": name, "fields": fields}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def nested(levels: int, innermost: Any = "int") -> Any:
    for _ in range(levels):
        innermost = array(innermost)
    return innermost


def doubling(times: int, innermost: Any = "int") -> dict[str, Any]:
    """Records of two of the one before: 2 ** times of the innermost type."""
    chain = [record(innermost, name="d0")]
    chain += [record(*[f"d{n}"] * 2, name=f"d{n + 1}") for n in range(times)]
    return record(*chain)


def wrapped(innermost: Any, levels: int = 3) -> Any:
    """A type in a record of one field in a record of one field."""
    for level in range(levels):
        innermost = record(innermost, name=f"w{level}")
    return innermost


def items(count: int, item: bytes) -> bytes:
    """An array's items, all the same."""
    return varint(count) + item * count + b"\0"


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "deflate": lambda content: zlib.compress(content, 1)[2:-1],
    "bzip2": lambda content: bz2.compress(content, 1),
    "xz": lambda content: lzma.compress(content, preset=0),
    "snappy": lambda content: bytes(cramjam.snappy.compress_raw(content)) + bytes(4),
    "zstandard": lambda content: bytes(cramjam.zstd.compress(content)),
}
