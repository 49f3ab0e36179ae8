"""Requests about a consumer group's offsets as KIP-447 has them.

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

from alertstream.kafka._aiokafka.requests.protocol import Records, schema

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


def _topics(fields: str) -> Records:
    return Records("topic text, partitions partitions", partitions=Records(fields))


class _TxnOffsetCommitResponse(Response):  # type: ignore[misc]
    API_KEY = 28
    API_VERSION = 3
    SCHEMA = schema(
        "throttle_time_ms int32, topics topics", topics=_topics("number int32, error_code int16")
    )

    @property
    def errors(self) -> list[tuple[str, list[tuple[int, int]]]]:
        """The error codes by topic and partition."""
        return [
            (topic, [(number, _FENCED.get(code, code)) for number, code in partitions])
            for topic, partitions in self.topics
        ]


class _TxnOffsetCommit(RequestStruct):  # type: ignore[misc]
    API_KEY = 28
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _TxnOffsetCommitResponse
    SCHEMA = schema(
        "transactional_id text, group_id text, producer_id int64, producer_epoch int16,"
        "generation_id int32, member_id text, group_instance_id text, topics topics",
        topics=_topics("number int32, offset int64, leader_epoch int32, metadata text"),
    )


class FencedOffsetCommit(Request[_TxnOffsetCommit]):  # type: ignore[misc]
    """A transaction's offsets, committed in the name of a group's member."""

    API_KEY = TxnOffsetCommitRequest.API_KEY

    def __init__(self, request: TxnOffsetCommitRequest, metadata: ConsumerGroupMetadata) -> None:
        self._request = request
        self._metadata = metadata

    def build(self, request_struct_class: type[_TxnOffsetCommit]) -> _TxnOffsetCommit:
        """Return the request as it goes to the broker."""
        request, who = self._request, self._metadata
        topics = [
            (topic, [(number, offset, -1, text) for number, offset, text in partitions])
            for topic, partitions in request._topics
        ]
        producer = (request._producer_id, request._producer_epoch)
        member = (who.generation_id, who.member_id, who.group_instance_id)
        return request_struct_class(
            request._transactional_id, who.group_id, *producer, *member, topics, {}
        )


class _OffsetFetchResponse(Response):  # type: ignore[misc]
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = schema(
        "throttle_time_ms int32, found topics, error_code int16",
        topics=_topics(
            "number int32, offset int64, leader_epoch int32, metadata text, error_code int16"
        ),
    )

    @property
    def topics(self) -> list[tuple[str, list[Any]]]:
        """Offset, metadata, error code by topic and partition; a refusal is one of the latter."""
        found = [("", [(-1, -1, -1, "", self.error_code)])] if self.error_code else self.found
        return [
            (
                topic,
                [
                    (number, offset, text, _RETRIED.get(code, code))
                    for number, offset, _, text, code in partitions
                ],
            )
            for topic, partitions in found
        ]


class _OffsetFetch(RequestStruct):  # type: ignore[misc]
    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _OffsetFetchResponse
    SCHEMA = schema(
        "group_id text, topics topics, require_stable bool",
        topics=Records("topic text, partitions numbers"),
    )


class StableOffsetFetch(Request[_OffsetFetch]):  # type: ignore[misc]
    """A group's offsets, once no unfinished transaction is about to move them."""

    API_KEY = OffsetFetchRequest.API_KEY

    def __init__(self, request: OffsetFetchRequest) -> None:
        self._request = request

    def build(self, request_struct_class: type[_OffsetFetch]) -> _OffsetFetch:
        """Return the request as it goes to the broker."""
        request = self._request
        return request_struct_class(request._consumer_group, request._partitions, True, {})
