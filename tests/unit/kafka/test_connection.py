"""Connections: what is produced is what aiokafka would send, and no credentials are logged."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from aiokafka.protocol.admin import SaslAuthenticateResponse_v1
from aiokafka.protocol.produce import ProduceRequest_v7

from alertstream.kafka._aiokafka.connection import (
    SILENCE_TIMEOUT,
    KafkaConnection,
    encode_produce_request,
    first_answer,
)


@pytest.mark.parametrize("transactional_id", [None, "a group"])
@pytest.mark.parametrize(
    "topics",
    [
        [],
        [("alerts", [(0, b"a batch")])],
        [("alerts", [(3, b""), (0, bytes(300_000))]), ("Größe", [(7, bytearray(b"x"))])],
    ],
)
def test_encoded_as_aiokafka_encodes_it(transactional_id: str | None, topics: list) -> None:
    request = ProduceRequest_v7(transactional_id, -1, 40_000, topics)
    assert b"".join(encode_produce_request(request)) == request.encode()


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def logged() -> Iterator[list[str]]:
    """All that aiokafka's connections log."""
    log, logger = _Log(), logging.getLogger("aiokafka.conn")
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)
    try:
        yield log.lines
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)


async def answer_sasl(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a client that logs in with SASL PLAIN as a broker would."""
    for body in (
        struct.pack(">hi9h", 0, 3, *(17, 0, 1), *(18, 0, 0), *(36, 0, 1)),
        struct.pack(">hih5s", 0, 1, 5, b"PLAIN"),
        SaslAuthenticateResponse_v1(0, None, b"", 0).encode(),
    ):
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        request = await reader.readexactly(size)
        message = request[4:8] + body
        writer.write(struct.pack(">i", len(message)) + message)
    await reader.read()
    writer.close()


def logged_in(look: Callable[[KafkaConnection], object]) -> None:
    """Log in, look, and close."""

    async def main() -> None:
        server = await asyncio.start_server(answer_sasl, "127.0.0.1", 0)
        connection = KafkaConnection(
            "127.0.0.1",
            server.sockets[0].getsockname()[1],
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_plain_username="anna",
            sasl_plain_password="s3cret",
        )
        async with asyncio.timeout(10):
            await connection.connect()
            look(connection)
            await connection.close()
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_credentials_are_not_logged() -> None:
    with logged() as lines:
        logged_in(lambda connection: None)
    assert any("HiddenRequest(...)" in line for line in lines)
    assert any("HiddenResponse(...)" in line for line in lines)
    assert "s3cret" not in "".join(lines)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
def test_a_machine_that_has_gone_is_given_up_by_the_system() -> None:
    """`deploy.rehearsal.swarm` cuts one off."""

    def look(connection: KafkaConnection) -> None:
        peer = connection._writer.get_extra_info("socket")
        milliseconds = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert milliseconds == SILENCE_TIMEOUT * 1000
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    logged_in(look)


def test_who_answers_is_heard_though_another_one_fails_at_that_moment() -> None:
    async def main() -> str:
        now = asyncio.Event()

        async def ask(answer: str) -> str:
            await now.wait()
            if not answer:
                raise OSError
            return answer

        asyncio.get_running_loop().call_later(0.005, now.set)
        return await first_answer([partial(ask, each) for each in ("", "yes", "")], 0.001)

    assert [asyncio.run(main()) for _ in range(10)] == ["yes"] * 10
