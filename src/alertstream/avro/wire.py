"""The Confluent wire format: one zero byte, a schema id in four bytes, the Avro body.

The id is big-endian, whatever some published notes about LSST's stream say.
"""

from __future__ import annotations

import struct

HEADER_SIZE = 5
_HEADER = struct.Struct(">bI")


def pack(schema_id: int, body: bytes) -> bytes:
    """Return the message that carries an Avro ``body`` written with schema ``schema_id``."""
    return _HEADER.pack(0, schema_id) + body


def schema_id_of(message: bytes | None) -> int | None:
    """Return the schema id that a message names; None for one without such a header."""
    if message is None or len(message) < HEADER_SIZE or message[0] != 0:
        return None
    schema_id: int = _HEADER.unpack_from(message)[1]
    return schema_id


def varint(number: int) -> bytes:
    """Return a number in the zigzag encoding of Avro and of Kafka's records."""
    number = number << 1 ^ number >> 63
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
