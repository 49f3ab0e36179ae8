"""What errors of aiokafka mean, why connections fail, and that their loss is reported."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace

import pytest
from aiokafka import errors as kafka_errors
from aiokafka.admin import NewTopic
from aiokafka.protocol.metadata import MetadataResponse_v1

from alertstream.errors import AlertStreamError, BrokerError, SecurityError
from alertstream.kafka import clients
from alertstream.kafka._aiokafka.clients import Failures, KafkaAdminClient, KafkaClient
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


class SilentBroker(KafkaClient):
    """A client of two brokers, of which the one that metadata call the controller is silent."""

    async def send(self, node_id: object, request: object, **how: object) -> object:
        if node_id == 1:
            await asyncio.Event().wait()
        return SimpleNamespace(topic_errors=[("alerts", self.code, None)])

    code = 0


def with_two_brokers() -> KafkaAdminClient:
    admin = KafkaAdminClient({})
    admin._client.__class__ = SilentBroker
    found = MetadataResponse_v1(
        brokers=[(1, "one", 9092, None), (2, "two", 9092, None)], controller_id=1, topics=[]
    )
    admin._client.cluster.update_metadata(found)
    return admin


def test_another_broker_is_asked_where_one_waits_for_the_controller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("alertstream.kafka._aiokafka.clients.NEXT_SERVER_TIMEOUT", 0.001)

    async def main() -> None:
        admin = with_two_brokers()
        made = await admin.create_topics([NewTopic("alerts", 1, 1)])
        assert made.topic_errors == [("alerts", 0, None)]
        # Without KRaft, only the controller makes topics.
        monkeypatch.setattr(SilentBroker, "code", kafka_errors.NotControllerError.errno)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await admin.create_topics([NewTopic("alerts", 1, 1)])

    asyncio.run(main())


def test_a_silent_broker_is_left_alone_by_all_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alertstream.kafka._aiokafka.connection.CONNECTION_TIMEOUT", 0.01)

    async def main(address: str) -> None:
        for _ in range(2):
            with pytest.raises(kafka_errors.KafkaConnectionError):
                await KafkaClient({}, bootstrap_servers=address).bootstrap()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(main("{}:{}".format(*silent.getsockname())))
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_who_did_not_answer_is_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> list[object]:
        return [with_two_brokers()._client.nodes_to_ask() for _ in range(20)]

    assert [1, 2] in asyncio.run(main())
    monkeypatch.setattr("alertstream.kafka._aiokafka.network._silent", {("one", 9092): 0.0})
    assert asyncio.run(main()) == [[2, 1]] * 20
