"""Requests about a consumer group's offsets as KIP-447 has them, which aiokafka does not know yet.

aiokafka commits a transaction's offsets without saying who commits, so that a member which has
lost its partitions unnoticed could still write; and it fetches offsets that an unfinished
transaction is about to move, or takes a broker's refusal for "none are committed". The requests
here name generation and member, and ask for stable offsets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.transaction import TxnOffsetCommitRequest
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

_TEXT = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)
_COORDINATOR_LOADING, _NOT_AVAILABLE, _NOT_COORDINATOR, _UNSTABLE = 14, 15, 16, 88
_ILLEGAL_GENERATION, _UNKNOWN_MEMBER, _INVALID_EPOCH, _FENCED_INSTANCE = 22, 25, 47, 82
_RETRIED = {_UNSTABLE: _COORDINATOR_LOADING, _NOT_AVAILABLE: _NOT_COORDINATOR}
"""Codes that aiokafka does not know how to wait for, and one with the same effect that it does."""
_FENCED = dict.fromkeys((_ILLEGAL_GENERATION, _UNKNOWN_MEMBER, _FENCED_INSTANCE), _INVALID_EPOCH)
"""Codes for one who is not a member any more, as aiokafka's for a producer that is fenced."""


@dataclass(frozen=True)
class ConsumerGroupMetadata:
    """Who moves a consumer group's offsets: Kafka takes them from current members only (KIP-447).

    :param generation_id: the rebalance after which the member has its partitions.
    :param member_id: the id that the group's coordinator has given it.
    :param group_instance_id: the name of a static member (KIP-345).
    :param assignment: counts this process's assignments. The generation is not enough: a static
        member that comes back has the same one.
    :param topic_ids: of the topics that it reads, as far as Kafka tells them.
    :param kept_suffix: what is added to a topic's name for the one whose offsets are kept.
    """

    group_id: str
    generation_id: int
    member_id: str
    group_instance_id: str | None = None
    assignment: int = 0
    topic_ids: Mapping[str, bytes] = field(default_factory=dict)
    kept_suffix: str = ""

    def kept(
        self, offsets: Mapping[TopicPartition, tuple[int, str]]
    ) -> dict[TopicPartition, tuple[int, str]]:
        """Return offsets as they are kept: with the id of the topic that was read."""
        return {
            TopicPartition(f"{topic}{self.kept_suffix}", number): (
                offset,
                with_id(text, self.topic_ids.get(topic)),
            )
            for (topic, number), (offset, text) in offsets.items()
        }


def with_id(text: str, topic_id: bytes | None) -> str:
    """Return what is kept with a group's offset: the id of the topic that it is of, and a text."""
    return f"{topic_id.hex()} {text}" if topic_id else text


def id_and_text(kept: str) -> tuple[bytes | None, str]:
    """Return the id of the topic that an offset is of, None if it is not kept, and the text."""
    found = re.fullmatch(r"([0-9a-f]{32}) (.*)", kept, re.DOTALL)
    return (bytes.fromhex(found[1]), found[2]) if found else (None, kept)


def _topics(*of_partition: tuple[str, Any]) -> CompactArray:
    partitions = CompactArray(("partition", Int32), *of_partition, _TAGS)
    return CompactArray(("topic", _TEXT), ("partitions", partitions), _TAGS)


class _TxnOffsetCommitResponse(Response):  # type: ignore[misc]
    API_KEY = 28
    API_VERSION = 3
    SCHEMA = Schema(("throttle_time_ms", Int32), ("topics", _topics(("error_code", Int16))), _TAGS)

    @property
    def errors(self) -> list[tuple[str, list[tuple[int, int]]]]:
        """The error codes by topic and partition."""
        return [
            (topic, [(partition, _FENCED.get(code, code)) for partition, code, _ in partitions])
            for topic, partitions, _ in self.topics
        ]


class _TxnOffsetCommit(RequestStruct):  # type: ignore[misc]
    API_KEY = 28
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _TxnOffsetCommitResponse
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("group_id", _TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", _TEXT),
        ("group_instance_id", _TEXT),
        ("topics", _topics(("offset", Int64), ("leader_epoch", Int32), ("metadata", _TEXT))),
        _TAGS,
    )


class FencedOffsetCommit(Request[_TxnOffsetCommit]):  # type: ignore[misc]
    """A transaction's offsets, committed in the name of a group's member."""

    API_KEY = TxnOffsetCommitRequest.API_KEY

    def __init__(self, request: TxnOffsetCommitRequest, metadata: ConsumerGroupMetadata) -> None:
        self._request = request
        self._metadata = metadata

    def build(self, request_struct_class: type[_TxnOffsetCommit]) -> _TxnOffsetCommit:
        """Return the request as it goes to the broker."""
        request, metadata = self._request, self._metadata
        topics: list[Any] = [
            (
                topic,
                [(number, offset, -1, text, {}) for number, offset, text in partitions],
                {},
            )
            for topic, partitions in request._topics
        ]
        return request_struct_class(
            request._transactional_id,
            metadata.group_id,
            request._producer_id,
            request._producer_epoch,
            metadata.generation_id,
            metadata.member_id,
            metadata.group_instance_id,
            topics,
            {},
        )


class _OffsetFetchResponse(Response):  # type: ignore[misc]
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "found",
            _topics(
                ("offset", Int64),
                ("leader_epoch", Int32),
                ("metadata", _TEXT),
                ("error_code", Int16),
            ),
        ),
        ("error_code", Int16),
        _TAGS,
    )

    @property
    def topics(self) -> list[tuple[str, list[tuple[int, int, str | None, int]]]]:
        """Offset, metadata, error code by topic and partition; a refusal is one of the latter."""
        refusal = int(self.error_code)
        if refusal:
            return [("", [(-1, -1, "", _RETRIED.get(refusal, refusal))])]
        return [
            (
                topic,
                [
                    (partition, offset, metadata, _RETRIED.get(code, code))
                    for partition, offset, _, metadata, code, _ in partitions
                ],
            )
            for topic, partitions, _ in self.found
        ]


class _OffsetFetch(RequestStruct):  # type: ignore[misc]
    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _OffsetFetchResponse
    SCHEMA = Schema(
        ("group_id", _TEXT),
        (
            "topics",
            CompactArray(("topic", _TEXT), ("partitions", CompactArray(Int32)), _TAGS),
        ),
        ("require_stable", Boolean),
        _TAGS,
    )


class StableOffsetFetch(Request[_OffsetFetch]):  # type: ignore[misc]
    """A group's offsets, once no unfinished transaction is about to move them."""

    API_KEY = OffsetFetchRequest.API_KEY

    def __init__(self, request: OffsetFetchRequest) -> None:
        self._request = request

    def build(self, request_struct_class: type[_OffsetFetch]) -> _OffsetFetch:
        """Return the request as it goes to the broker."""
        request = self._request
        topics: list[Any] = [(topic, numbers, {}) for topic, numbers in request._partitions]
        return request_struct_class(request._consumer_group, topics, True, {})
