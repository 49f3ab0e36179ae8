"""What goes to the socket is what aiokafka would send, byte for byte."""

from __future__ import annotations

import pytest
from aiokafka import conn
from aiokafka.protocol.produce import ProduceRequest_v7

from alertstream.kafka import producer as kafka
from alertstream.kafka._aiokafka.requests import LeanConnection, encode_produce_request


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


def test_every_connection_is_lean() -> None:
    assert kafka.IN_FLIGHT
    assert conn.AIOKafkaConnection is LeanConnection
