"""Topics known by their ids (KIP-516), as one that was deleted and made anew has another one.

aiokafka knows topics by their names only: it would go on in a new topic where it was in the old.
The requests here ask for the ids, and fetch by id, so that no message of another topic is taken for
the one that comes next. A broker that does not know them yet is asked as aiokafka does.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from aiokafka.cluster import ClusterMetadata
from aiokafka.protocol.api import Request
from aiokafka.protocol.fetch import (
    FetchRequest,
    FetchRequest_v11,
    FetchRequestStruct,
    FetchResponse_v11,
)
from aiokafka.protocol.metadata import (
    MetadataRequest,
    MetadataRequest_v5,
    MetadataRequestStruct,
    MetadataResponse_v5,
)
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

_TEXT = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)
_NUMBERS = CompactArray(Int32)
_UNKNOWN_TOPIC, _UNKNOWN_TOPIC_ID, _INCONSISTENT_TOPIC_ID = 3, 100, 103
_KNOWN = dict.fromkeys((_UNKNOWN_TOPIC_ID, _INCONSISTENT_TOPIC_ID), _UNKNOWN_TOPIC)
"""Codes for a topic that is gone, as the one at which aiokafka asks for its metadata again."""
_NO_ID = bytes(16)


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


_METADATA = Schema(
    ("throttle_time_ms", Int32),
    (
        "brokers",
        CompactArray(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _TAGS),
    ),
    ("cluster_id", _TEXT),
    ("controller_id", Int32),
    (
        "topics",
        CompactArray(
            ("error_code", Int16),
            ("topic", _TEXT),
            ("topic_id", _Uuid),
            ("is_internal", Boolean),
            (
                "partitions",
                CompactArray(
                    ("error_code", Int16),
                    ("partition", Int32),
                    ("leader", Int32),
                    ("leader_epoch", Int32),
                    ("replicas", _NUMBERS),
                    ("isr", _NUMBERS),
                    ("offline_replicas", _NUMBERS),
                    _TAGS,
                ),
            ),
            ("authorized_operations", Int32),
            _TAGS,
        ),
    ),
    ("authorized_operations", Int32),
    _TAGS,
)


class _MetadataResponse(MetadataResponse_v5):  # type: ignore[misc]
    topic_ids: Mapping[str, bytes]
    rights: Mapping[str, int]

    @classmethod
    def decode(cls, data: BytesIO | bytes) -> _MetadataResponse:
        data = BytesIO(data) if isinstance(data, bytes) else data
        throttle, brokers, cluster, controller, topics, *_ = _METADATA.decode(data)
        made = cls(
            throttle,
            [broker[:4] for broker in brokers],
            cluster,
            controller,
            [
                (error, name, internal, [(*each[:3], *each[4:7]) for each in partitions])
                for error, name, _, internal, partitions, *_ in topics
            ],
        )
        made.topic_ids = {name: id_ for _, name, id_, *_ in topics if id_ != _NO_ID}
        made.rights = {name: allowed for _, name, *_, allowed, _ in topics}
        return made


class _MetadataRequest(MetadataRequest_v5):  # type: ignore[misc]
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("topic", _TEXT), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class MetadataWithIds(Request[MetadataRequestStruct | _MetadataRequest]):  # type: ignore[misc]
    """Asks for what aiokafka asks for, and for the topics' ids.

    :param rights: ask for what the user may do with each topic, too (KIP-430): a bit for each
        operation; brokers that do not know topics' ids do not tell it.
    """

    API_KEY = MetadataRequest.API_KEY

    def __init__(self, request: MetadataRequest, *, rights: bool = False) -> None:
        self._request = request
        self._rights = rights

    def build(self, request_struct_class: Any) -> Any:
        """Return the request as it goes to the broker."""
        if request_struct_class is not _MetadataRequest:
            return self._request.build(request_struct_class)
        names, may_make = self._request._topics, self._request._allow_auto_topic_creation
        topics: Any = None if names is None else [(_NO_ID, name, {}) for name in names]
        return _MetadataRequest(topics, may_make is not False, False, self._rights, {})


class ClusterMetadataWithIds(ClusterMetadata):  # type: ignore[misc]
    """aiokafka's metadata of a cluster; ``topic_ids`` has those of the topics that there are."""

    topic_ids: Mapping[str, bytes] = {}

    def update_metadata(self, metadata: Any) -> None:
        """Take what a broker answers."""
        if metadata.brokers:
            self.topic_ids = getattr(metadata, "topic_ids", {})
        super().update_metadata(metadata)


_FETCHED = Schema(
    ("throttle_time_ms", Int32),
    ("error_code", Int16),
    ("session_id", Int32),
    (
        "topics",
        CompactArray(
            ("topic_id", _Uuid),
            (
                "partitions",
                CompactArray(
                    ("partition", Int32),
                    ("error_code", Int16),
                    ("highwater_offset", Int64),
                    ("last_stable_offset", Int64),
                    ("log_start_offset", Int64),
                    (
                        "aborted_transactions",
                        CompactArray(("producer_id", Int64), ("first_offset", Int64), _TAGS),
                    ),
                    ("preferred_read_replica", Int32),
                    ("message_set", CompactBytes),
                    _TAGS,
                ),
            ),
            _TAGS,
        ),
    ),
    _TAGS,
)


class _FetchResponse(FetchResponse_v11):  # type: ignore[misc]
    """What was fetched, with ids in place of names."""

    @classmethod
    def decode(cls, data: BytesIO | bytes) -> _FetchResponse:
        data = BytesIO(data) if isinstance(data, bytes) else data
        throttle, error, session, topics, _ = _FETCHED.decode(data)
        found = [(id_, [_fetched(*each) for each in partitions]) for id_, partitions, _ in topics]
        return cls(throttle, error, session, found)


def _fetched(number: int, code: int, *more: Any) -> tuple[Any, ...]:
    *offsets, aborted, replica, records, _ = more
    aborted = [each[:2] for each in aborted or ()]
    return number, _KNOWN.get(code, code), *offsets, aborted, replica, records or b""


class _FetchRequest(FetchRequest_v11):  # type: ignore[misc]
    API_VERSION = 13
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _FetchResponse
    SCHEMA = Schema(
        ("replica_id", Int32),
        ("max_wait_time", Int32),
        ("min_bytes", Int32),
        ("max_bytes", Int32),
        ("isolation_level", Int8),
        ("session_id", Int32),
        ("session_epoch", Int32),
        (
            "topics",
            CompactArray(
                ("topic_id", _Uuid),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("current_leader_epoch", Int32),
                        ("fetch_offset", Int64),
                        ("last_fetched_epoch", Int32),
                        ("log_start_offset", Int64),
                        ("max_bytes", Int32),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        ("forgotten_topics", CompactArray(Int32)),
        ("rack_id", _TEXT),
        _TAGS,
    )


class FetchById(Request[FetchRequestStruct | _FetchRequest]):  # type: ignore[misc]
    """Fetches what aiokafka fetches, of no other topics than those with these ids.

    :param ids: of all the request's topics, by name.
    """

    API_KEY = FetchRequest.API_KEY

    def __init__(self, request: FetchRequest, ids: Mapping[str, bytes]) -> None:
        self._request = request
        self._ids = ids

    def build(self, request_struct_class: Any) -> Any:
        """Return the request as it goes to the broker."""
        by_name = self._request.build(
            FetchRequest_v11 if request_struct_class is _FetchRequest else request_struct_class
        )
        if request_struct_class is not _FetchRequest:
            return by_name
        *start, topics, _, rack = (by_name.__dict__[name] for name in by_name.SCHEMA.names)
        by_id: list[Any] = [
            (self._ids[name], [_to_fetch(*each) for each in partitions], {})
            for name, partitions in topics
        ]
        return _FetchRequest(*start, by_id, [], rack, {})

    def named(self, response: Any) -> Any:
        """Return a response with names in place of the ids."""
        names = {id_: name for name, id_ in self._ids.items()}
        response.topics = [(names.get(key, key), found) for key, found in response.topics]
        return response


def _to_fetch(number: int, epoch: int, offset: int, begin: int, size: int) -> tuple[Any, ...]:
    return number, epoch, offset, -1, begin, size, {}
