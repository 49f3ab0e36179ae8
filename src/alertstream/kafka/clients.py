"""Clients: opened, closed, watched, and what their errors mean to the user."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeVar

from aiokafka import errors as kafka_errors

from alertstream.errors import BrokerError, DeliveryError, Notice, SecurityError, TopicError, info
from alertstream.kafka._aiokafka.clients import (
    Failures,
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
)
from alertstream.kafka.connection import (
    CONNECT_TIMEOUT,
    FAILOVER_TIMEOUT,
    METADATA_MAX_AGE_MS,
    Connection,
)
from alertstream.system.tls import NO_TLS, WRONG_NAME, certificate_names, refusal

ClientOf = Callable[[Connection, Mapping[str, Any]], AbstractAsyncContextManager[KafkaConsumer]]
"""Opens the client that reads, given the settings of its group."""
T = TypeVar("T", bound=KafkaAdminClient | KafkaConsumer | KafkaProducer)
R = TypeVar("R")

MAX_PARTITION_FETCH = 1024 * 1024
"""Bytes fetched from a partition at once; a larger message still comes whole."""
MAX_FETCH = 32 * 1024 * 1024
"""Bytes fetched from a broker at once, which bounds the memory of unprocessed messages."""
READING: dict[str, Any] = {
    "auto_offset_reset": "earliest",
    "isolation_level": "read_committed",
    "fetch_max_bytes": MAX_FETCH,
    "max_partition_fetch_bytes": MAX_PARTITION_FETCH,
    # Checking takes as long as all the rest of reading; librdkafka does not check, either.
    "check_crcs": False,
}
"""aiokafka's settings for reading messages."""
GROUP: dict[str, Any] = {"enable_auto_commit": False, "metadata_max_age_ms": METADATA_MAX_AGE_MS}
"""aiokafka's settings for reading under our control of offsets, with an eye on changing topics."""
LOST_AFTER = 2.0
"""Seconds without any connection to a broker after which the user is told."""
LOOK_INTERVAL = 0.2
LOST = "no connection to Kafka: reconnecting…"
RESTORED = info("reconnected to Kafka")
NO_COORDINATOR = "Unable to get coordinator id for "
"""What aiokafka's admin client puts before the group that the user has no right to use."""
RIGHT = "the rights that alertstream doctor --acls lists"
"""What to ask for if the missing right is unknown."""
TLS_ALERT = 0x1503
"""How a TLS alert begins: read as an answer's size, it shows that the broker expects TLS."""

_LASTING = (
    kafka_errors.AuthenticationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.IncompatibleBrokerVersion,
    kafka_errors.InvalidTimestampError,
    kafka_errors.InvalidTopicError,
    kafka_errors.OffsetMetadataTooLargeError,
    kafka_errors.PolicyViolationError,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.TransactionalIdAuthorizationFailed,
    kafka_errors.UnsupportedForMessageFormatError,
)
"""Why messages are refused, however often they are sent."""


@asynccontextmanager
async def mapped_errors(
    connection: Connection, failures: Failures, right: str = RIGHT
) -> AsyncIterator[None]:
    """Turn what aiokafka raises inside the context into our errors.

    :param failures: why the clients that are used there could not connect.
    :param right: the right that the operations there need on topics.
    """
    try:
        yield
    except (
        TimeoutError,
        kafka_errors.KafkaConnectionError,
        kafka_errors.KafkaTimeoutError,
    ) as error:
        address, reason = next(reversed(failures.items()), (None, error))
        raise await _unreachable(connection, address, reason) from error
    except kafka_errors.KafkaError as error:
        raise mapped(connection, error, right) from error


@asynccontextmanager
async def open_client(
    connection: Connection, kind: type[T], *, start: bool = True, **settings: Any
) -> AsyncIterator[T]:
    """Give a client; what is raised while it is used becomes one of our errors.

    :param start: connect it; else, the user of the client does.
    :raises BrokerError: Kafka cannot be reached within ``CONNECT_TIMEOUT``, or refuses.
    """
    failures: Failures = {}
    right = {KafkaConsumer: "Read", KafkaProducer: "Write"}.get(kind, RIGHT)
    async with mapped_errors(connection, failures, right):
        client = kind(failures, **connection.settings(), **settings)
        try:
            if start:
                await with_failover(client, client.start())
            yield client
        finally:
            await stop_client(client)


async def with_failover(client: T, work: Awaitable[R]) -> R:
    """Return the result of ``work``, with time for others to replace a broker that has died.

    :raises TimeoutError: it is not done within ``CONNECT_TIMEOUT`` or, if there is a connection to
        a broker by then, ``FAILOVER_TIMEOUT``.
    """
    async with asyncio.timeout(FAILOVER_TIMEOUT):
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait((task,), timeout=CONNECT_TIMEOUT)
            if not (task.done() or client.is_connected):
                raise TimeoutError
            return await task
        finally:
            task.cancel()


async def stop_client(client: KafkaAdminClient | KafkaConsumer | KafkaProducer) -> None:
    """Wait for what is in flight, within its grace period, and disconnect."""
    with suppress(TimeoutError):
        async with asyncio.timeout(client.grace()):
            await client.stop()


def consumer_client(
    connection: Connection, group: Mapping[str, Any]
) -> AbstractAsyncContextManager[KafkaConsumer]:
    """Give a client that reads committed messages; it is to be started.

    :param group: aiokafka's settings of its group.
    """
    return open_client(connection, KafkaConsumer, start=False, **READING, **GROUP, **group)


def admin_client(connection: Connection) -> AbstractAsyncContextManager[KafkaAdminClient]:
    """Give a client for topics and groups, as :func:`open_client` does."""
    timeout = int(CONNECT_TIMEOUT * 1000)
    return open_client(connection, KafkaAdminClient, request_timeout_ms=timeout)


@asynccontextmanager
async def connection_reports(
    is_connected: Callable[[], bool],
    notice: Notice,
    connected: Callable[[bool], None] = lambda connected: None,
) -> AsyncIterator[None]:
    """Report that the connection is lost or restored, for as long as the context lasts.

    :param connected: called with False when the connection is lost, with True when it is restored.
    """

    async def watch() -> None:
        last_connected, lost = time.monotonic(), False
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            now = time.monotonic()
            if is_connected():
                last_connected = now
            if lost != (now - last_connected > LOST_AFTER):
                lost = not lost
                connected(not lost)
                notice(LOST if lost else RESTORED)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


async def _unreachable(
    connection: Connection, address: tuple[str, int] | None, reason: BaseException
) -> BrokerError:
    while isinstance(reason, kafka_errors.KafkaConnectionError) and reason.__cause__:
        reason = reason.__cause__
    if isinstance(reason, kafka_errors.BrokerResponseError):
        return mapped(connection, reason)
    if refused := await _refusal(connection, reason):
        what = f"no connection to Kafka: {refused[0]}"
        return SecurityError(what, where=connection.bootstrap, todo=refused[1])
    text = str(reason)
    if isinstance(reason, TimeoutError):
        text = "no answer"
    elif isinstance(reason, OSError):
        text = reason.strerror or text
    what = f"Kafka cannot be reached ({text})"
    todo = "check the address and try again, or start a local Kafka: alertstream broker"
    if address and address not in connection.addresses():
        host, port = address
        what = f"Kafka says that a broker is at {host}:{port}, which cannot be reached ({text})"
        todo = (
            "see that it is up, and that the broker's advertised.listeners has a name that this "
            "machine knows and a port that it can connect to"
        )
    return BrokerError(what, where=connection.bootstrap, todo=todo)


async def _refusal(connection: Connection, reason: BaseException) -> tuple[str, str] | None:
    """Return why a connection fails that is secure on one side only, and what to do about it."""
    match reason:
        case ssl.SSLCertVerificationError() if reason.verify_code in WRONG_NAME:
            what = reason.verify_message
            # Name the certificate's hosts if the user has named the broker that shows it.
            names: list[str] = []
            for host, port in connection.addresses():
                if f"'{host}'" in what:
                    names = await certificate_names(host, port, connection.ca_file)
            known = f", but for {', '.join(names)}" if names else ""
            todo = "use a name in BROKER that the certificate is for, or check the address"
            return what.rstrip(".") + known, todo
        case ssl.SSLError():
            return refusal(reason)
        case ConnectionResetError() if connection.is_encrypted:
            return NO_TLS
        case asyncio.IncompleteReadError(expected=int(size)) if size >> 16 == TLS_ALERT:
            return "the broker expects TLS", "choose --security-protocol SASL_SSL or SSL"
        case asyncio.IncompleteReadError() if not connection.is_authenticated:
            protocol = "SASL_SSL" if connection.is_encrypted else "SASL_PLAINTEXT"
            todo = f"choose --security-protocol {protocol}, with --username and --password-file"
            what = "the broker closes it, as it does if it expects a user name and password"
            return what, f"{todo}; or try again if the broker is just shutting down"
    return None


def mapped(connection: Connection, error: BaseException, right: str = RIGHT) -> BrokerError:
    """Return our error that says what an error of aiokafka's means, and what can be done.

    :param right: the missing right if it is one to a topic.
    """
    kind: type[BrokerError] = SecurityError
    todo: str | None
    subject = error.args[0] if error.args else "in question"
    if isinstance(subject, set):
        subject = ", ".join(sorted(subject))
    match error:
        case kafka_errors.AuthenticationFailedError() | kafka_errors.SaslAuthenticationFailed():
            what = f"Kafka does not know the user {connection.username} with this password"
            mechanism = f"--sasl-mechanism ({connection.sasl_mechanism})"
            todo = f"check --username, --password-file and {mechanism}"
        case kafka_errors.IllegalSaslStateError():
            what = "the broker expects no user name"
            todo = "choose --security-protocol PLAINTEXT or SSL, or check the port"
        case kafka_errors.UnsupportedSaslMechanismError():
            what = f"Kafka does not offer the mechanism {connection.sasl_mechanism}"
            todo = "choose another --sasl-mechanism"
        case kafka_errors.TopicAuthorizationFailedError():
            what = f"no right to use the topic {subject}"
            todo = f"ask for {right} on it, or check the name"
        case kafka_errors.GroupAuthorizationFailedError():
            what = f"no right to use the group {str(subject).removeprefix(NO_COORDINATOR)}"
            todo = (
                "ask for Read on it, or choose another --group; on some streams it must begin with "
                "the user's name"
            )
        case kafka_errors.InconsistentGroupProtocolError():
            kind, what = BrokerError, "the group's members run other filters, or with another --cap"
            todo = (
                "choose another --group for these, or end the members and run all filters in one "
                "command; one that was killed is a member for 10 s"
            )
        case kafka_errors.TransactionalIdAuthorizationFailed():
            what = f"no right to use the transactional id {subject}"
            todo = (
                "ask for Write on all ids that begin with the group's name; or filter with --to a "
                "Kafka of your own, or with --delivery at-least-once, which needs none"
            )
        case kafka_errors.ClusterAuthorizationFailedError():
            what = "no right to write to any topic"
            todo = (
                "ask for Write on the topic, and before Kafka 3 for IdempotentWrite on the cluster"
            )
        case kafka_errors.MessageSizeTooLargeError() | kafka_errors.RecordListTooLargeError():
            kind, what = TopicError, "a message is larger than its topic allows"
            todo = "raise the topic's max.message.bytes"
        case kafka_errors.UnknownTopicOrPartitionError():
            kind, what = TopicError, f"there is no topic {subject}"
            todo = "ask for a right to it" if connection.has_rights else "send to it first"
        case kafka_errors.KafkaTimeoutError():
            kind, what = BrokerError, "Kafka timed out"
            todo = "see that all brokers are up, and try again"
        case _:
            name = type(error).__name__.removesuffix("Error")
            kind, what, todo = BrokerError, f"Kafka answers {name}: {error}", None
    return kind(what, where=connection.bootstrap, todo=todo)


def failed_delivery(
    connection: Connection,
    error: BaseException,
    count: int,
    messages: str = "alerts",
    right: str = "Write",
) -> DeliveryError:
    """Return the error that says why ``count`` messages were not acknowledged."""
    if type(error) is kafka_errors.KafkaError and isinstance(error.__cause__, Exception):
        error = error.__cause__
    what, todo = "no answer in time", "see that all brokers are up, and try again"
    timed_out = isinstance(error, kafka_errors.KafkaTimeoutError)
    refused = isinstance(error, kafka_errors.KafkaError) and not (error.retriable or timed_out)
    if refused:
        meaning = mapped(connection, error, right)
        what, todo = meaning.what, meaning.todo or todo
    return DeliveryError(
        f"{messages} not acknowledged: {count} ({what})",
        where=connection.bootstrap,
        todo=todo,
        retriable=not isinstance(error, _LASTING),
        refused=refused,
    )
