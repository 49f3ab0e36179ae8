"""Connections that do not copy what is produced, keep credentials out of logs, and close at once.

aiokafka encodes a request by joining at every level of its structure: batch, partition, topic,
request, header, size; eight copies in all. A connection made here hands the parts of a produce
request to the socket as they are; all other requests are left to aiokafka.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import weakref
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from aiokafka.conn import READER_LIMIT, AIOKafkaConnection, AIOKafkaProtocol, CloseReason
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import SaslAuthenticateRequest
from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v7
from aiokafka.protocol.types import Int16, Int32, String
from aiokafka.util import create_future, wait_for

from alertstream.system.resolver import RESOLVER, Address

T = TypeVar("T")

SILENCE_TIMEOUT = 15.0
"""Seconds after which a connection is broken on which the other machine acknowledges nothing."""
CONNECTION_TIMEOUT = 4.0
"""Seconds for one attempt to connect to a broker, which may be up and yet not answer."""
NEXT_ADDRESS_TIMEOUT = 0.5
"""Seconds without an answer from one of a broker's addresses after which the next is tried, too."""

_TEXT = String("utf-8")
_PARTITION = struct.Struct(">ii")


class KafkaConnection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection to one broker."""

    async def connect(self) -> Any:
        """Connect to the first of the broker's addresses that answers, and log in.

        aiokafka would look up the broker's name within the time it has to connect; and would wait
        for a machine that has gone without a word, 40 s, though others have long taken its place.

        :raises OSError: there is no such host, or nothing answers at its port.
        :raises TimeoutError: nothing answers within ``CONNECTION_TIMEOUT``.
        """
        addresses = await RESOLVER.addresses(self._host, self._port)
        async with asyncio.timeout(CONNECTION_TIMEOUT):
            asking = [partial(_connected, each) for each in addresses]
            await self._open(await first_answer(asking, NEXT_ADDRESS_TIMEOUT))
            try:
                await self._do_version_lookup()
                if self._security_protocol.startswith("SASL"):
                    await self._do_sasl_handshake()
            except BaseException:
                self.close()
                raise
        return self._reader, self._writer

    async def _open(self, peer: socket.socket) -> None:
        loop, self._closed_fut = self._loop, create_future()
        reader = asyncio.StreamReader(limit=READER_LIMIT, loop=loop)
        protocol = AIOKafkaProtocol(self._closed_fut, reader, loop=loop)
        is_encrypted = self._security_protocol.endswith("SSL")
        tls = {"ssl": self._ssl_context, "server_hostname": self._host} if is_encrypted else {}
        try:
            transport, _ = await loop.create_connection(lambda: protocol, sock=peer, **tls)
        except BaseException:
            peer.close()
            raise
        self._reader, self._protocol = reader, protocol
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._read_task = self._create_reader_task()
        if self._max_idle_ms is not None:
            self._idle_handle = loop.call_soon(self._idle_check, weakref.ref(self))

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Send a request; return what waits for its response.

        :raises KafkaConnectionError: the connection is broken.
        """
        if isinstance(request, SaslAuthenticateRequest):
            request = _HiddenAuthenticate(request._payload)
        if isinstance(request, ProduceRequest) and self._writer is not None and expect_response:
            prepared = request.prepare(self._versions)
            if isinstance(prepared, ProduceRequest_v7):
                return self._produce(prepared)
        return super().send(request, expect_response)

    def _produce(self, request: ProduceRequest_v7) -> Any:
        number = self._next_correlation_id()
        header = request.build_request_header(correlation_id=number, client_id=self._client_id)
        start, parts = header.encode(), encode_produce_request(request)
        size = len(start) + sum(map(len, parts))
        try:
            self._writer.writelines([Int32.encode(size) + start, *parts])
        except OSError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(
                f"Connection at {self._host}:{self._port} broken: {error}"
            ) from error
        response: asyncio.Future[Any] = self._loop.create_future()
        self._requests.append((number, request, response))
        return wait_for(response, self._request_timeout)

    def close(self, reason: Any = None, exc: BaseException | None = None) -> Any:
        """Close the connection; return what is done when it is closed.

        With TLS, a close_notify that crosses an answer is sometimes not answered, which would be
        waited for half a minute.
        """
        encrypted = self._writer.transport if self._writer and self._ssl_context else None
        closed = super().close(reason, exc)
        if encrypted:
            encrypted.abort()
        return closed


async def _connected(address: Address) -> socket.socket:
    peer = socket.socket(*address[:3])
    try:
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # on Linux
            # A broker that is slow or stopped is waited for all the same: its machine acknowledges
            # what it gets.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, int(SILENCE_TIMEOUT / 2))
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
            milliseconds = int(SILENCE_TIMEOUT * 1000)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        await asyncio.get_running_loop().sock_connect(peer, address.sockaddr)
    except BaseException as error:
        peer.close()
        if isinstance(error, OSError) and error.errno:
            # Loops put the address into their text.
            raise OSError(error.errno, os.strerror(error.errno)) from error
        raise
    return peer


async def first_answer(asking: Sequence[Callable[[], Awaitable[T]]], interval: float) -> T:
    """Return what one of several gives; the next one is asked, too, if there is none after a while.

    :param interval: in seconds.
    :raises Exception: the last one's failure; none gives anything.
    """
    left, asked = [*asking], set[asyncio.Future[T]]()
    try:
        while True:
            if left:
                asked.add(asyncio.ensure_future(left.pop(0)()))
            timeout = interval if left else None
            wait = asyncio.wait(asked, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            answered, asked = await wait
            for each in sorted(answered, key=lambda each: each.exception() is not None):
                if each.exception() is None or not (left or asked):
                    return each.result()
    finally:
        for each in asked:
            each.cancel()


class _Hidden:
    """A request or response that is logged without what is in it.

    Passwords, and a SCRAM exchange, from which a weak password can be guessed.
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


class _HiddenAuthenticate(SaslAuthenticateRequest):  # type: ignore[misc]
    def build(self, request_struct_class: Any) -> Any:
        answer = type("HiddenResponse", (_Hidden, request_struct_class.RESPONSE_TYPE), {})
        hidden = type("HiddenRequest", (_Hidden, request_struct_class), {"RESPONSE_TYPE": answer})
        return hidden(self._payload)


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
            pieces = batch if isinstance(batch, list) else [batch]
            parts += [_PARTITION.pack(partition, sum(map(len, pieces))), *pieces]
    return parts
