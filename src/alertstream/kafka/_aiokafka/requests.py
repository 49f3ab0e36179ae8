"""Produce requests that go to the socket without a copy of the alerts in them.

aiokafka encodes a request by joining at every level of its structure: batch, partition, topic,
request, header, size; eight copies in all. A connection made here hands the parts of a produce
request to the socket as they are; all other requests are left to aiokafka.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from aiokafka import conn
from aiokafka import errors as kafka_errors
from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v7
from aiokafka.protocol.types import Int16, Int32, String
from aiokafka.util import wait_for

from alertstream.kafka._aiokafka.batches import Pieces

_TEXT = String("utf-8")
_PARTITION = struct.Struct(">ii")


class LeanConnection(conn.AIOKafkaConnection):  # type: ignore[misc]
    """A connection to a broker that sends produce requests without needless copies."""

    def close(self, reason: Any = None, exc: BaseException | None = None) -> Any:
        """Close the connection; return what is done when it is closed.

        With TLS, a goodbye that crosses an answer is sometimes not answered: half a minute's wait.
        """
        secure = self._writer.transport if self._writer and self._ssl_context else None
        closed = super().close(reason, exc)
        if secure:
            secure.abort()
        return closed

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Send a request; return what waits for its response.

        :raises KafkaConnectionError: the connection is broken.
        """
        if self._writer is None or not isinstance(request, ProduceRequest) or not expect_response:
            return super().send(request, expect_response)
        prepared = request.prepare(self._versions)
        if not isinstance(prepared, ProduceRequest_v7):
            return super().send(request, expect_response)
        number = self._next_correlation_id()
        header = prepared.build_request_header(correlation_id=number, client_id=self._client_id)
        start, parts = header.encode(), encode_produce_request(prepared)
        size = len(start) + sum(map(len, parts))
        try:
            self._writer.writelines([Int32.encode(size) + start, *parts])
        except OSError as error:
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise kafka_errors.KafkaConnectionError(
                f"Connection at {self._host}:{self._port} broken: {error}"
            ) from error
        response: asyncio.Future[Any] = self._loop.create_future()
        self._requests.append((number, prepared, response))
        return wait_for(response, self._request_timeout)


def encode_produce_request(request: ProduceRequest_v7) -> list[bytes]:
    """Return a produce request as Kafka's protocol has it, version 7 (KIP-110), in parts."""
    parts: list[bytes] = [
        _TEXT.encode(request.transactional_id)
        + Int16.encode(request.required_acks)
        + Int32.encode(request.timeout)
        + Int32.encode(len(request.topics))
    ]
    for topic, partitions in request.topics:
        parts.append(_TEXT.encode(topic) + Int32.encode(len(partitions)))
        for partition, batch in partitions:
            parts.append(_PARTITION.pack(partition, len(batch)))
            parts += batch.parts if isinstance(batch, Pieces) else [batch]
    return parts


def use_lean_connections() -> None:
    """Make every connection that aiokafka opens from now on a :class:`LeanConnection`."""
    conn.AIOKafkaConnection = LeanConnection
