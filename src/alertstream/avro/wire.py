"""The Confluent wire format: one zero byte, a schema id in four bytes, the Avro body.

The id is big-endian, whatever some published notes about LSST's stream say.
"""

from __future__ import annotations

import struct

from alertstream.errors import UndecodableError

HEADER_SIZE = 5
_HEADER = struct.Struct(">bI")


def pack(schema_id: int, body: bytes) -> bytes:
    """Return the message that carries an Avro ``body`` written with schema ``schema_id``."""
    return _HEADER.pack(0, schema_id) + body


def unpack(message: bytes) -> tuple[int, memoryview]:
    """Return the schema id of a message and a view on its Avro body.

    :raises UndecodableError: the message has no such header.
    """
    if len(message) < HEADER_SIZE or message[0] != 0:
        raise UndecodableError("no wire-format header")
    return _HEADER.unpack_from(message)[1], memoryview(message)[HEADER_SIZE:]
