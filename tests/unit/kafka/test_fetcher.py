"""Every batch of records can be read, within bounds, whatever is in it."""

from __future__ import annotations

import gzip
import os
import random
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import cramjam
import pytest
from aiokafka.codec import snappy_encode
from aiokafka.record.default_records import DefaultRecordBatch

from alertstream.kafka._aiokafka.batches import CODECS, OVERHEAD, Batch, Records
from alertstream.kafka._aiokafka.fetcher import MAX_BATCH, RecordBatch, Unreadable

ENDLESS = 300 * 1024 * 1024


def batch(*values: bytes, compression: str = "none", headers: Any = ()) -> bytes:
    records = Records(compression)
    for value in values:
        records.append(1_700_000_000_000 + records.count, (value,), b"a key", headers)
    return b"".join(Batch(records, transactional=False)._build())


def compressed(number: int, content: bytes, records: int = 1) -> bytes:
    """A batch whose records are compressed already."""
    head = bytearray(batch(*[b""] * records)[:OVERHEAD])
    head[22] = number
    struct.pack_into(">i", head, 8, OVERHEAD - 12 + len(content))
    return bytes(head) + content


def read(content: bytes) -> list[tuple[Any, ...]]:
    return [(r.offset, r.timestamp, r.key, r.value) for r in RecordBatch(memoryview(content))]


@pytest.mark.parametrize("compression", CODECS)
def test_reads_what_aiokafka_does(compression: str) -> None:
    content = batch(b"one", b"", bytes(100_000), b"four" * 9, compression=compression)
    theirs = [(r.offset, r.timestamp, r.key, r.value) for r in DefaultRecordBatch(content)]
    assert read(content) == theirs
    assert len(theirs) == 4
    assert RecordBatch(memoryview(content)).validate_crc()
    assert not RecordBatch(memoryview(content[:-1] + b"?")).validate_crc()


def test_reads_snappy_with_and_without_blocks() -> None:
    plain = batch(os.urandom(50_000) * 3, b"two")
    for blocks in (True, False):
        encoded = snappy_encode(plain[OVERHEAD:], xerial_compatible=blocks)
        assert read(compressed(2, encoded, 2)) == read(plain)


@pytest.mark.hostile("2c: header names that are not UTF-8")
@pytest.mark.parametrize("compression", CODECS)
def test_header_name_that_is_not_utf8(compression: str) -> None:
    records = Records(compression)
    for value in (b"before", b"it", b"after"):
        headers = [("nam\u00e9", b"1"), ("", None)] if value == b"it" else []
        records.append(5, (value,), None, headers)
    records._parts = [part.replace("é".encode(), b"\xff\xfe") for part in records._parts]
    found = list(RecordBatch(memoryview(b"".join(Batch(records, transactional=False)._build()))))
    # What was read before it comes again, with its offset, by which it is known.
    by_offset = {each.offset: each for each in found}
    assert [each.value for each in by_offset.values()] == [b"before", b"it", b"after"]
    assert by_offset[1].headers == (("nam\ufffd\ufffd", b"1"), ("", None))


BOMBS: dict[int, Callable[[], bytes]] = {
    1: lambda: gzip.compress(bytes(ENDLESS), 1),
    2: lambda: bytes(cramjam.snappy.compress_raw(bytes(ENDLESS))),
    3: lambda: bytes(cramjam.lz4.compress(bytes(ENDLESS))),
    4: lambda: bytes(cramjam.zstd.compress(bytes(ENDLESS))),
}


@pytest.mark.hostile("2e: 300 MB of zeros, 24 KB on disk")
@pytest.mark.parametrize("number", BOMBS)
def test_batch_that_becomes_large(number: int) -> None:
    content = compressed(number, BOMBS[number](), records=3)
    tracemalloc.start()
    found = read(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [offset for offset, *_ in found] == [0, 1, 2]
    for *_, value in found:
        assert isinstance(value, Unreadable)
        assert "larger than 32 MiB" in value.cause or "damaged" in value.cause
    assert peak < 3 * MAX_BATCH


@pytest.mark.hostile("2f: records that are damaged, in every codec")
@pytest.mark.parametrize("compression", CODECS)
def test_damaged_records(compression: str) -> None:
    rng = random.Random(compression)
    whole = batch(*(os.urandom(20) * 5 for _ in range(5)), compression=compression)
    for _ in range(30):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 5)):
            content[rng.randrange(OVERHEAD, len(content))] = rng.randrange(256)
        cut = len(content) if rng.random() < 0.5 else rng.randrange(OVERHEAD, len(content))
        found = {offset for offset, *_ in read(bytes(content[:cut]))}
        assert found <= set(range(5))
        assert 4 in found
