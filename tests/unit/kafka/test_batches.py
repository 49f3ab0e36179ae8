"""Record batches are those that aiokafka would make, byte for byte."""

from __future__ import annotations

import os
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from alertstream.avro.wire import varint
from alertstream.kafka._aiokafka.batches import CODECS, OVERHEAD, Batch, Records

ONE: list[tuple[Any, ...]] = [(1_700_000_000_000, b"value", None, [])]
MANY: list[tuple[Any, ...]] = [
    (1_700_000_000_500, os.urandom(300_000), b"a key", [("name", b"content"), ("none", None)]),
    (1_700_000_000_400, None, b"a tombstone", []),
    (1_700_000_090_000, b"", None, [("größe", b"")]),
    (1_700_000_000_600, b"x" * 127, b"", []),
]


def ours(records: list[tuple[Any, ...]], compression: str, transactional: bool) -> Any:
    made = Records(compression)
    for timestamp, value, key, headers in records:
        parts = None if value is None else (value[:3], value[3:])
        made.append(timestamp, parts, key, headers)
    batch = Batch(made, transactional=transactional)
    batch._set_producer_state(4711, 3, 42)
    return batch


def theirs(records: list[tuple[Any, ...]], codec: int, transactional: bool) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, transactional, 4711, 3, 42, batch_size=10_000_000)
    for offset, (timestamp, value, key, headers) in enumerate(records):
        builder.append(offset, timestamp, key, value, headers)
    return bytes(builder.build())


@pytest.mark.parametrize("records", [ONE, MANY])
@pytest.mark.parametrize("compression", CODECS)
@pytest.mark.parametrize("transactional", [False, True])
def test_same_bytes(records: list[Any], compression: str, transactional: bool) -> None:
    batch = ours(records, compression, transactional)
    joined = b"".join(batch._build())
    assert batch.record_count() == len(records)
    if compression == "none":
        assert joined == theirs(records, 0, transactional)
        assert batch.size() == len(joined)
    # What a codec makes of the same bytes may differ; what is read from it may not.
    read = DefaultRecordBatch(bytearray(joined))
    assert read.validate_crc()
    found = [(r.timestamp, r.value, r.key, list(r.headers)) for r in read]
    assert found == records


def size_of(batch: Batch) -> int:
    return sum(map(len, batch._build()))


def test_compresses_what_can_be_compressed() -> None:
    records = [(1, bytes(100_000), None, [])]
    for compression in CODECS:
        size = size_of(ours(records, compression, False))
        assert (size < 10_000) == (compression != "none")
    noise = [(1, os.urandom(100_000), None, [])]
    compressed, plain = ours(noise, "zstd", False), ours(noise, "none", False)
    assert size_of(compressed) == size_of(plain)


def test_one_set_of_records_in_many_batches() -> None:
    records = Records()
    records.append(5, (b"value",))
    batches = [Batch(records, transactional=True) for _ in range(3)]
    for number, batch in enumerate(batches):
        batch._set_producer_state(number, 0, 0)
    joined = [b"".join(batch._build()) for batch in batches]
    assert len(set(joined)) == 3
    assert all(DefaultRecordBatch(bytearray(each)).validate_crc() for each in joined)
    assert records.value_bytes == 5


@pytest.mark.parametrize(
    ("number", "encoded"),
    [(0, b"\0"), (-1, b"\1"), (1, b"\2"), (63, b"\x7e"), (64, b"\x80\1"), (-65, b"\x81\1")],
)
def test_varint(number: int, encoded: bytes) -> None:
    assert varint(number) == encoded
    assert OVERHEAD == 61
