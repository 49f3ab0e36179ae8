"""The header of five bytes."""

from __future__ import annotations

import struct

import pytest
from tests.support import samples
from tests.support.samples import schema_id

from alertstream.avro.container.file import ContainerFile
from alertstream.avro.wire import pack, schema_id_of
from alertstream.errors import UndecodableError
from alertstream.reading.envelope import opened


def test_wire_format_is_a_zero_and_a_big_endian_id() -> None:
    assert pack(0x01020304, b"body") == b"\x00\x01\x02\x03\x04body"
    assert opened(b"\x00\x00\x00\x03\xe8body") == (1000, b"\x00\x00\x00\x03\xe8body", 5)


@pytest.mark.parametrize("message", [b"\x00\x00\x00\x03", b"\x01\x00\x00\x03\xe8body"])
def test_no_header(message: bytes) -> None:
    with pytest.raises(UndecodableError, match="no wire-format header"):
        opened(message)
    assert schema_id_of(message) is None


def test_struct_layout_of_sample_message() -> None:
    with ContainerFile(samples.sample_file("7.1")) as container:
        (body,) = container
    assert struct.unpack(">bI", pack(schema_id("7.1"), body)[:5]) == (0, 701)
