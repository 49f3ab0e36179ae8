"""What errors of aiokafka mean, why connections fail, and that their loss is reported."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiokafka import errors as kafka_errors

from alertstream.errors import AlertStreamError, BrokerError, SecurityError
from alertstream.kafka import clients
from alertstream.kafka._aiokafka.clients import Failures, KafkaClient
from alertstream.kafka._aiokafka.network import RETRY_INTERVAL
from alertstream.kafka.clients import (
    LOST,
    RESTORED,
    connection_reports,
    failed_delivery,
    mapped_errors,
)
from alertstream.kafka.connection import Connection

LOCAL = Connection("localhost:9092")
HERE, THERE = ("localhost", 9092), ("kafka-1.example", 9092)


def raised(error: BaseException, failures: Failures) -> AlertStreamError:
    async def main() -> None:
        async with mapped_errors(LOCAL, failures):
            raise error

    with pytest.raises(AlertStreamError) as found:
        asyncio.run(main())
    return found.value


def test_the_last_failure_says_why_there_is_no_connection() -> None:
    refused = OSError(111, "Connection refused")
    failures: Failures = {THERE: TimeoutError(), HERE: refused}
    assert raised(TimeoutError(), failures).what == "Kafka cannot be reached (Connection refused)"


def test_an_address_that_the_cluster_gives_and_that_cannot_be_reached() -> None:
    """Its `advertised.listeners`, the setting of Kafka that is wrong most often."""
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    found = raised(TimeoutError(), {HERE: TimeoutError(), THERE: unknown})
    assert found.what == (
        "Kafka says that a broker is at kafka-1.example:9092, which cannot be reached "
        "(Name or service not known)"
    )
    assert "advertised.listeners" in (found.todo or "")


def test_without_a_failure_there_was_no_answer() -> None:
    assert raised(TimeoutError(), {}).what == "Kafka cannot be reached (no answer)"


def test_a_server_that_expects_tls_gives_itself_away() -> None:
    broken = kafka_errors.KafkaConnectionError("closed")
    broken.__cause__ = asyncio.IncompleteReadError(b"", 0x15030300)
    found = raised(TimeoutError(), {("a", 1): broken})
    assert isinstance(found, SecurityError)
    assert found.what == "no connection to Kafka: the broker expects TLS"


def test_credentials_that_are_rejected() -> None:
    wrong = kafka_errors.SaslAuthenticationFailed("no")
    found = raised(kafka_errors.KafkaConnectionError("closed"), {("a", 1): wrong})
    assert isinstance(found, SecurityError)
    assert "does not know the user" in found.what


def test_a_timeout_is_no_refusal() -> None:
    error = failed_delivery(LOCAL, kafka_errors.KafkaTimeoutError(), 64)
    assert error.what == "alerts not acknowledged: 64 (no answer in time)"
    assert error.retriable
    assert not error.refused


def test_a_client_keeps_its_own_failures() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = unused.getsockname()

    async def main() -> tuple[Failures, Failures]:
        failures: Failures = {}
        others: Failures = {}
        client = KafkaClient(failures, bootstrap_servers="{}:{}".format(*address))
        KafkaClient(others)
        with pytest.raises(kafka_errors.KafkaConnectionError) as found:
            await client.bootstrap()
        # Where a port refuses, that is known at once, and not asked again at once.
        begin = asyncio.get_running_loop().time()
        assert not await client._metadata_update(client.cluster, [])
        assert asyncio.get_running_loop().time() - begin > RETRY_INTERVAL / 2
        assert isinstance(found.value.__cause__, ConnectionRefusedError)
        return failures, others

    failures, others = asyncio.run(main())
    assert isinstance(failures[address], ConnectionRefusedError)
    assert not others


def test_an_unknown_error_is_named() -> None:
    found = raised(kafka_errors.InvalidTopicError("t"), {})
    assert type(found) is BrokerError
    assert found.what.startswith("Kafka answers InvalidTopic")


def test_a_broker_that_closes_the_connection_expects_credentials() -> None:
    closed = kafka_errors.KafkaConnectionError("closed")
    closed.__cause__ = asyncio.IncompleteReadError(b"", 4)
    error = kafka_errors.KafkaConnectionError("Unable to bootstrap")
    error.__cause__ = closed
    found = raised(error, {})
    assert "expects a user name and password" in found.what


def test_loss_and_return_are_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "LOOK_INTERVAL", 0.001)
    monkeypatch.setattr(clients, "LOST_AFTER", 0.05)
    state = {"connected": True}
    told: list[str | bool] = []

    async def main() -> None:
        async with connection_reports(lambda: state["connected"], told.append, told.append):
            for connected, seconds in ((True, 0.1), (False, 0.3), (True, 0.1)):
                state["connected"] = connected
                await asyncio.sleep(seconds)
        state["connected"] = False
        await asyncio.sleep(0.1)

    asyncio.run(main())
    assert told == [False, LOST, True, RESTORED]
