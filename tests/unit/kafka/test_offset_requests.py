"""Requests about a group's offsets, byte for byte as Kafka's protocol has them (KIP-447)."""

from __future__ import annotations

import struct

import pytest
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.transaction import TxnOffsetCommitRequest

from alertstream.kafka._aiokafka.requests.offsets import FencedOffsetCommit, StableOffsetFetch
from alertstream.kafka.messages import ConsumerGroupMetadata


def text(value: str | None) -> bytes:
    """A compact string: its length and one, then the string; null is 0."""
    return b"\0" if value is None else bytes([len(value) + 1]) + value.encode()


@pytest.mark.parametrize("instance", [None, "one"])
def test_a_commit_names_generation_and_member(instance: str | None) -> None:
    request = TxnOffsetCommitRequest("id", "group", 7, 3, [("alerts", [(2, 41, "kept")])])
    metadata = ConsumerGroupMetadata("group", 5, "member-1", instance, assignment=9)
    prepared = FencedOffsetCommit(request, metadata).prepare({28: (0, 5)})
    partition = struct.pack(">iqi", 2, 41, -1) + text("kept") + b"\0"
    assert prepared.encode() == (
        text("id")
        + text("group")
        + struct.pack(">qhi", 7, 3, 5)
        + text("member-1")
        + text(instance)
        + (b"\x02" + text("alerts") + b"\x02" + partition + b"\0")
        + b"\0"
    )


@pytest.mark.parametrize(("code", "known"), [(0, 0), (22, 47), (25, 47), (82, 47), (14, 14)])
def test_who_is_not_a_member_any_more_is_fenced(code: int, known: int) -> None:
    response = (
        FencedOffsetCommit(
            TxnOffsetCommitRequest("id", "group", 7, 3, []), ConsumerGroupMetadata("group", 5, "m")
        )
        .prepare({28: (3, 3)})
        .RESPONSE_TYPE
    )
    answer = b"\0\0\0\0\x02" + text("alerts") + b"\x02" + struct.pack(">ih", 2, code) + b"\0\0\0"
    assert response.decode(answer).errors == [("alerts", [(2, known)])]


def test_a_fetch_asks_for_stable_offsets() -> None:
    prepared = StableOffsetFetch(OffsetFetchRequest("group", [("alerts", [0, 2])])).prepare(
        {9: (0, 9)}
    )
    topic = text("alerts") + b"\x03" + struct.pack(">ii", 0, 2) + b"\0"
    assert prepared.encode() == text("group") + b"\x02" + topic + b"\x01" + b"\0"


@pytest.mark.parametrize(("refusal", "known"), [(88, 14), (15, 16), (30, 30)])
def test_a_refused_fetch_is_no_lack_of_offsets(refusal: int, known: int) -> None:
    response = StableOffsetFetch(OffsetFetchRequest("group", [])).prepare({9: (7, 7)}).RESPONSE_TYPE
    answer = b"\0\0\0\0\x01" + struct.pack(">h", refusal) + b"\0"
    assert response.decode(answer).topics == [("", [(-1, -1, "", known)])]


def test_a_fetch_gives_offsets_and_the_text_kept_with_them() -> None:
    response = StableOffsetFetch(OffsetFetchRequest("group", [])).prepare({9: (7, 7)}).RESPONSE_TYPE
    partition = struct.pack(">iqi", 1, 41, -1) + text("kept") + struct.pack(">h", 0) + b"\0"
    answer = b"\0\0\0\0\x02" + text("alerts") + b"\x02" + partition + b"\0" + b"\0\0" + b"\0"
    assert response.decode(answer).topics == [("alerts", [(1, 41, "kept", 0)])]
