"""How to reach Kafka, and what its refusals mean.

Everything that Kafka or its client library reports crosses this border as one of our errors, with
what the user can do about it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import errors as kafka_errors

from alertstream.errors import BrokerError, DeliveryError, SecurityError, TopicError, UsageError
from alertstream.system.tls import NO_TLS, WRONG_NAME, identify, names_of, refusal, trust

DEFAULT_PORT = 9092
NO_COORDINATOR = "Unable to get coordinator id for "
"""What aiokafka's administration client puts before the group that it has no right to use."""
TLS_ALERT = 0x1503
"""What an answer of TLS begins with: read as a size, it gives away who does not expect TLS."""

SECRETS = ("SaslAuthenticate", "_AlterScram")
"""Requests of Kafka's protocol with passwords in them, or with what is as good as one."""


@dataclass(frozen=True)
class Connection:
    """How to reach Kafka.

    :param bootstrap: ``HOST:PORT``, several with commas; port 9092 if none is given.
    :raises UsageError: if an address or a combination of settings cannot be meant.
    """

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        for address in self.bootstrap.split(","):
            host, colon, port = address.strip().rpartition(":")
            if colon and not (host and port.isdecimal() and 0 < int(port) < 65536):
                raise UsageError(f"{address!r} is no HOST:PORT", todo="as in localhost:9092")
            if not address.strip():
                raise UsageError("the broker has no name", todo="as in localhost:9092")
        if self.security_protocol.startswith("SASL") and not (self.username and self.password):
            missing = "password" if self.username else "user name"
            raise UsageError(
                f"{self.security_protocol} needs a {missing}",
                todo="give --username, and --password-file or the variable ALERTSTREAM_PASSWORD",
            )
        if self.key_file and not self.cert_file:
            raise UsageError("a key is of no use without its certificate", todo="give --cert-file")

    @classmethod
    def to(cls, broker: str | Connection) -> Connection:
        """Return the connection to a broker that is given by its address, or as one already.

        :raises UsageError: the address is not valid.
        """
        return broker if isinstance(broker, Connection) else cls(broker)

    def addresses(self) -> list[tuple[str, int]]:
        """Return the hosts and ports to connect to at first."""
        split = (each.strip().rpartition(":") for each in self.bootstrap.split(","))
        return [(host, int(port)) if host else (port, DEFAULT_PORT) for host, _, port in split]

    def settings(self) -> dict[str, Any]:
        """Return what aiokafka's clients take.

        :raises SecurityError: a certificate or key cannot be used.
        """
        encrypted = self.security_protocol.endswith("SSL")
        return {
            "bootstrap_servers": [each.strip() for each in self.bootstrap.split(",")],
            "client_id": "alertstream",
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
            "ssl_context": self._ssl_context() if encrypted else None,
        }

    def _ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.ca_file:
            trust(context, self.ca_file)
        if self.cert_file:
            identify(context, self.cert_file, self.key_file)
        return context


class _Discretion(logging.Filter):
    """Keeps requests with secrets out of all logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        return not any(type(each).__name__.startswith(SECRETS) for each in arguments)


logging.getLogger("aiokafka.conn").addFilter(_Discretion())


class _Reasons(logging.Handler):
    """Keeps the last error that aiokafka logs: why a connection failed, it tells nobody else."""

    last: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        errors = [arg for arg in record.args or () if isinstance(arg, BaseException)]
        self.last = errors[-1] if errors else self.last


@contextmanager
def mapped_errors(connection: Connection) -> Iterator[None]:
    """Turn what aiokafka raises inside the context into our errors."""
    reasons = _Reasons()
    logger = logging.getLogger("aiokafka")
    logger.addHandler(reasons)
    try:
        yield
    except TimeoutError as error:
        raise _unreachable(connection, reasons.last or "no answer") from error
    except (kafka_errors.KafkaConnectionError, kafka_errors.KafkaTimeoutError) as error:
        raise _unreachable(connection, reasons.last or error) from error
    except kafka_errors.KafkaError as error:
        raise mapped(connection, error) from error
    finally:
        logger.removeHandler(reasons)


def _unreachable(connection: Connection, reason: BaseException | str) -> BrokerError:
    if isinstance(reason, kafka_errors.KafkaConnectionError) and reason.__cause__:
        reason = reason.__cause__
    if isinstance(reason, kafka_errors.BrokerResponseError):
        return mapped(connection, reason)
    if isinstance(reason, BaseException) and (refused := _refusal(connection, reason)):
        what, todo = refused
        return SecurityError(
            f"no connection to Kafka: {what}", where=connection.bootstrap, todo=todo
        )
    if isinstance(reason, OSError) and not isinstance(reason, TimeoutError):
        reason = reason.strerror or str(reason)
    text = "no answer" if isinstance(reason, TimeoutError) else str(reason)
    return BrokerError(
        f"Kafka cannot be reached ({text})",
        where=connection.bootstrap,
        todo="check the address and try again, or start a local Kafka: alertstream broker",
    )


def _refusal(connection: Connection, reason: BaseException) -> tuple[str, str] | None:
    """Return what a connection fails of that is secure on one side only, and what to do."""
    encrypted = connection.security_protocol.endswith("SSL")
    match reason:
        case ssl.SSLCertVerificationError(verify_code=code) if code in WRONG_NAME:
            return _wrong_name(connection, reason)
        case ssl.SSLError():
            return refusal(reason)
        case ConnectionResetError() if encrypted:
            return NO_TLS
        case asyncio.IncompleteReadError(expected=int(size)) if size >> 16 == TLS_ALERT:
            return "it speaks TLS there", "choose --security-protocol SASL_SSL or SSL"
        case asyncio.IncompleteReadError() if not connection.security_protocol.startswith("SASL"):
            protocol = "SASL_SSL" if encrypted else "SASL_PLAINTEXT"
            todo = f"choose --security-protocol {protocol}, with --username and --password-file"
            what = "it closes the connection, as when it wants a user name and password"
            return what, f"{todo}; or try again, should it be going down"
    return None


def _wrong_name(connection: Connection, error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    """Return for whom the certificate is, if the user has named the broker that shows it."""
    names: list[str] = []
    for host, port in connection.addresses():
        if f"'{host}'" in error.verify_message:
            names = names_of(host, port, connection.ca_file)
    known = f", but for {', '.join(names)}" if names else ""
    what = error.verify_message.rstrip(".") + known
    return what, "use a name in BROKER that the certificate is for, or check the address"


def mapped(connection: Connection, error: BaseException) -> BrokerError:
    """Return our error that says what an error of aiokafka's means."""
    kind, what, todo = _meaning(connection, error)
    return kind(what, where=connection.bootstrap, todo=todo)


def _meaning(
    connection: Connection, error: BaseException
) -> tuple[type[BrokerError], str, str | None]:
    """Return which error of ours it is, what it means, and what can be done about it."""
    subject = _subject(error)
    match error:
        case kafka_errors.AuthenticationFailedError() | kafka_errors.SaslAuthenticationFailed():
            what = f"Kafka does not know the user {connection.username} with this password"
            mechanism = f"--sasl-mechanism ({connection.sasl_mechanism})"
            return SecurityError, what, f"check --username, --password-file and {mechanism}"
        case kafka_errors.IllegalSaslStateError():
            what = "Kafka asks for no user name there"
            todo = "choose --security-protocol PLAINTEXT or SSL, or check the port"
            return SecurityError, what, todo
        case kafka_errors.UnsupportedSaslMechanismError():
            what = f"Kafka does not offer the mechanism {connection.sasl_mechanism}"
            return SecurityError, what, "choose another --sasl-mechanism"
        case kafka_errors.TopicAuthorizationFailedError():
            what = f"no right to use the topic {subject}"
            return SecurityError, what, "ask for it, or check the name"
        case kafka_errors.GroupAuthorizationFailedError():
            what = f"no right to use the group {subject.removeprefix(NO_COORDINATOR)}"
            todo = "choose another --group; on some streams it must begin with the user's name"
            return SecurityError, what, todo
        case kafka_errors.TransactionalIdAuthorizationFailed():
            what = f"no right to use the transactional id {subject}"
            todo = "ask for it, for all ids that begin with the group's name; or filter with "
            return SecurityError, what, todo + "--delivery at-least-once, which needs none"
        case kafka_errors.ClusterAuthorizationFailedError():
            what = "no right to write to any topic"
            todo = (
                "ask for Write on the topic, and before Kafka 3 for IdempotentWrite on the cluster"
            )
            return SecurityError, what, todo
        case kafka_errors.MessageSizeTooLargeError() | kafka_errors.RecordListTooLargeError():
            what = "a message larger than its topic takes"
            return TopicError, what, "raise the topic's max.message.bytes"
        case kafka_errors.UnknownTopicOrPartitionError():
            return TopicError, f"there is no topic {subject}", "send to it first"
    name = type(error).__name__.removesuffix("Error")
    return BrokerError, f"Kafka answers {name}: {error}", None


def _subject(error: BaseException) -> str:
    subjects = error.args[0] if error.args else "in question"
    return ", ".join(sorted(subjects)) if isinstance(subjects, set) else str(subjects)


_LASTING = (
    kafka_errors.AuthenticationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.IncompatibleBrokerVersion,
    kafka_errors.InvalidTimestampError,
    kafka_errors.InvalidTopicError,
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.OffsetMetadataTooLargeError,
    kafka_errors.PolicyViolationError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.TransactionalIdAuthorizationFailed,
    kafka_errors.UnsupportedForMessageFormatError,
)
"""Why messages are refused, however often they are sent."""


def failed_delivery(
    connection: Connection, error: BaseException, count: int, messages: str = "alerts"
) -> DeliveryError:
    """Return the error that says why ``count`` messages were not acknowledged."""
    if type(error) is kafka_errors.KafkaError and isinstance(error.__cause__, Exception):
        error = error.__cause__
    what, todo = "no answer in time", "see that all brokers are up, and try again"
    refused = isinstance(error, kafka_errors.KafkaError) and not error.retriable
    if refused:
        _, what, own = _meaning(connection, error)
        todo = own or todo
    return DeliveryError(
        f"{messages} not acknowledged: {count}, because of {what}",
        where=connection.bootstrap,
        todo=todo,
        passing=not isinstance(error, _LASTING),
        refused=refused,
    )
