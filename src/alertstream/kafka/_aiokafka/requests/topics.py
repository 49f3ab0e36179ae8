"""Topics known by their ids (KIP-516), as one that was deleted and recreated has another one.

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

from alertstream.kafka._aiokafka.requests.protocol import Records, schema

_UNKNOWN_TOPIC, _UNKNOWN_TOPIC_ID, _INCONSISTENT_TOPIC_ID = 3, 100, 103
_GONE = dict.fromkeys((_UNKNOWN_TOPIC_ID, _INCONSISTENT_TOPIC_ID), _UNKNOWN_TOPIC)
"""Codes for a topic that is gone, as the one at which aiokafka asks for its metadata again."""
_NO_ID = bytes(16)

_PARTITIONS = Records(
    "error_code int16, number int32, leader int32, leader_epoch int32, replicas numbers,"
    "isr numbers, offline_replicas numbers"
)
_METADATA = schema(
    "throttle_time_ms int32, brokers brokers, cluster_id text, controller_id int32, topics topics,"
    "authorized_operations int32",
    brokers=Records("node_id int32, host text, port int32, rack text"),
    topics=Records(
        "error_code int16, topic text, topic_id uuid, is_internal bool, partitions partitions,"
        "authorized_operations int32",
        partitions=_PARTITIONS,
    ),
)


class _MetadataResponse(MetadataResponse_v5):  # type: ignore[misc]
    topic_ids: Mapping[str, bytes]
    rights: Mapping[str, int]

    @classmethod
    def decode(cls, data: BytesIO | bytes) -> _MetadataResponse:
        data = BytesIO(data) if isinstance(data, bytes) else data
        *start, found, _, _ = _METADATA.decode(data)
        topics = [
            (error, name, internal, [(*each[:3], *each[4:]) for each in partitions])
            for error, name, _, internal, partitions, _ in found
        ]
        made = cls(*start, topics)
        made.topic_ids = {name: id_ for _, name, id_, *_ in found if id_ != _NO_ID}
        made.rights = {name: allowed for _, name, *_, allowed in found}
        return made


class _MetadataRequest(MetadataRequest_v5):  # type: ignore[misc]
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = schema(
        "topics topics, allow_auto_topic_creation bool,"
        "include_cluster_authorized_operations bool, include_topic_authorized_operations bool",
        topics=Records("topic_id uuid, topic text"),
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
        topics = None if names is None else [(_NO_ID, name) for name in names]
        return _MetadataRequest(topics, may_make is not False, False, self._rights, {})


class ClusterMetadataWithIds(ClusterMetadata):  # type: ignore[misc]
    """aiokafka's metadata of a cluster; ``topic_ids`` has those of the topics that there are."""

    topic_ids: Mapping[str, bytes] = {}

    def update_metadata(self, metadata: Any) -> None:
        """Take what a broker answers."""
        if metadata.brokers:
            self.topic_ids = getattr(metadata, "topic_ids", {})
        super().update_metadata(metadata)


_FETCHED_OF_PARTITION = Records(
    "number int32, error_code int16, highwater_offset int64, last_stable_offset int64,"
    "log_start_offset int64, aborted aborted, preferred_read_replica int32, message_set bytes",
    aborted=Records("producer_id int64, first_offset int64"),
)
_FETCHED = schema(
    "throttle_time_ms int32, error_code int16, session_id int32, topics topics",
    topics=Records("topic_id uuid, partitions partitions", partitions=_FETCHED_OF_PARTITION),
)
_TO_FETCH = Records(
    "number int32, current_leader_epoch int32, fetch_offset int64, last_fetched_epoch int32,"
    "log_start_offset int64, max_bytes int32"
)


class _FetchResponse(FetchResponse_v11):  # type: ignore[misc]
    """What was fetched, with ids in place of names."""

    @classmethod
    def decode(cls, data: BytesIO | bytes) -> _FetchResponse:
        data = BytesIO(data) if isinstance(data, bytes) else data
        *start, topics, _ = _FETCHED.decode(data)
        return cls(*start, [(id_, [_fetched(*each) for each in found]) for id_, found in topics])


class _FetchRequest(FetchRequest_v11):  # type: ignore[misc]
    API_VERSION = 13
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _FetchResponse
    SCHEMA = schema(
        "replica_id int32, max_wait_time int32, min_bytes int32, max_bytes int32,"
        "isolation_level int8, session_id int32, session_epoch int32, topics topics,"
        "forgotten_topics numbers, rack_id text",
        topics=Records("topic_id uuid, partitions partitions", partitions=_TO_FETCH),
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
        if request_struct_class is not _FetchRequest:
            return self._request.build(request_struct_class)
        by_name = self._request.build(FetchRequest_v11)
        *start, topics, _, rack = (by_name.__dict__[name] for name in by_name.SCHEMA.names)
        by_id = [
            (self._ids[name], [(*each[:3], -1, *each[3:]) for each in partitions])
            for name, partitions in topics
        ]
        return _FetchRequest(*start, by_id, [], rack, {})

    def named(self, response: Any) -> Any:
        """Return a response with names in place of the ids."""
        names = {id_: name for name, id_ in self._ids.items()}
        response.topics = [(names.get(key, key), found) for key, found in response.topics]
        return response


def _fetched(number: int, code: int, *more: Any) -> tuple[Any, ...]:
    *offsets, records = more
    return number, _GONE.get(code, code), *offsets, records or b""
