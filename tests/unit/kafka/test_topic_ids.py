"""Topics' ids, byte for byte as Kafka's protocol has them (KIP-516)."""

from __future__ import annotations

import struct
from uuid import uuid4

import pytest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest

from alertstream.kafka._aiokafka.requests.offsets import id_and_text, with_id
from alertstream.kafka._aiokafka.requests.topics import (
    ClusterMetadataWithIds,
    FetchById,
    MetadataWithIds,
)

ONE, TWO = uuid4().bytes, uuid4().bytes


def text(value: str) -> bytes:
    """A compact string: its length and one, then the string."""
    return bytes([len(value) + 1]) + value.encode()


def metadata(topic_id: bytes, code: int = 0) -> bytes:
    """What a broker answers of one topic with one partition."""
    broker = struct.pack(">i", 1) + text("host") + struct.pack(">i", 9092) + b"\0\0"
    ids = b"\x02" + struct.pack(">i", 1)
    partition = struct.pack(">hiii", 0, 0, 1, 7) + ids + ids + b"\x01\0"
    topic = struct.pack(">h", code) + text("alerts") + topic_id + b"\0\x02" + partition + b"\0" * 5
    head = b"\0\0\0\0\x02" + broker + text("cluster") + struct.pack(">i", 1)
    return head + b"\x02" + topic + b"\0" * 5


def test_metadata_tells_ids_and_all_that_aiokafka_wants() -> None:
    prepared = MetadataWithIds(MetadataRequest(["alerts"])).prepare({3: (0, 13)})
    assert prepared.encode() == b"\x02" + bytes(16) + text("alerts") + b"\0" + b"\x01\0\0\0"
    everything = MetadataWithIds(MetadataRequest(None)).prepare({3: (0, 13)})
    assert everything.encode() == b"\0\x01\0\0\0"
    cluster = ClusterMetadataWithIds()
    cluster.update_metadata(prepared.RESPONSE_TYPE.decode(metadata(ONE)))
    assert cluster.topic_ids == {"alerts": ONE}
    assert cluster.partitions_for_topic("alerts") == {0}
    assert [(each.nodeId, each.port) for each in cluster.brokers()] == [(1, 9092)]
    cluster.update_metadata(prepared.RESPONSE_TYPE.decode(metadata(bytes(16), code=3)))
    assert cluster.topic_ids == {} and cluster.partitions_for_topic("alerts") is None


def test_what_is_fetched_is_of_the_topic_with_that_id() -> None:
    by_id = FetchById(FetchRequest(500, 1, 900, 1, [("alerts", [(2, 41, 800)])]), {"alerts": ONE})
    prepared = by_id.prepare({1: (4, 17)})
    partition = struct.pack(">iiqiqi", 2, -1, 41, -1, -1, 800) + b"\0"
    head = struct.pack(">iiiibii", -1, 500, 1, 900, 1, 0, -1)
    assert prepared.encode() == head + b"\x02" + ONE + b"\x02" + partition + b"\0\x01\x01\0"
    aborted = b"\x02" + struct.pack(">qq", 5, 40) + b"\0"
    answer = struct.pack(">ihqqq", 2, 0, 50, 49, 0) + aborted + struct.pack(">i", -1) + b"\x04abc\0"
    head = struct.pack(">ihi", 0, 0, 0)
    response = by_id.named(
        prepared.RESPONSE_TYPE.decode(head + b"\x02" + ONE + b"\x02" + answer + b"\0\0")
    )
    assert response.topics == [("alerts", [(2, 0, 50, 49, 0, [(5, 40)], -1, b"abc")])]


@pytest.mark.parametrize("code", [100, 103])
def test_a_topic_that_is_gone_is_looked_for_again(code: int) -> None:
    by_id = FetchById(FetchRequest(500, 1, 900, 1, [("alerts", [(2, 41, 800)])]), {"alerts": ONE})
    answer = struct.pack(">ihqqq", 2, code, -1, -1, -1) + b"\0" + struct.pack(">i", -1) + b"\0\0"
    data = struct.pack(">ihi", 0, 0, 0) + b"\x02" + ONE + b"\x02" + answer + b"\0\0"
    response = by_id.named(by_id.prepare({1: (13, 13)}).RESPONSE_TYPE.decode(data))
    assert response.topics == [("alerts", [(2, 3, -1, -1, -1, [], -1, b"")])]


def test_older_brokers_are_asked_as_aiokafka_does() -> None:
    assert MetadataWithIds(MetadataRequest(["alerts"])).prepare({3: (0, 9)}).API_VERSION == 5
    request = FetchRequest(500, 1, 900, 1, [("alerts", [(2, 41, 800)])])
    assert FetchById(request, {"alerts": ONE}).prepare({1: (4, 12)}).API_VERSION == 11


@pytest.mark.parametrize("kept", ["", '{"visit_caps": 41}', "a\nb"])
def test_an_offset_is_kept_with_its_topics_id(kept: str) -> None:
    assert id_and_text(with_id(kept, TWO)) == (TWO, kept)
    assert id_and_text(with_id(kept, None)) == (None, kept)
