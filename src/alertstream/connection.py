"""How to reach Kafka, and what its refusals mean.

Everything that Kafka or its client library reports crosses this border as one of our errors, with
what the user can do about it.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import errors as kafka_errors

from alertstream.errors import BrokerError, DeliveryError, SecurityError, TopicError, UsageError

SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


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
        if "SASL" in self.security_protocol and not (self.username and self.password):
            raise UsageError(
                f"{self.security_protocol} needs a user name and a password",
                todo="give --username and --password-file",
            )

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
        try:
            if self.ca_file:
                context.load_verify_locations(self.ca_file)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            files = [str(each) for each in (self.ca_file, self.cert_file, self.key_file) if each]
            raise SecurityError(
                f"the certificate files cannot be used ({error})",
                where=", ".join(files),
                todo="check --ca-file, --cert-file and --key-file: PEM files are wanted",
            ) from error
        return context


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
    if isinstance(reason, ssl.SSLError):
        return SecurityError(
            f"no secure connection to Kafka ({reason.args[-1]})",
            where=connection.bootstrap,
            todo="check --security-protocol and --ca-file",
        )
    if isinstance(reason, kafka_errors.AuthenticationFailedError):
        return mapped(connection, reason)
    if isinstance(reason, OSError) and not isinstance(reason, TimeoutError):
        reason = reason.strerror or str(reason)
    text = "no answer" if isinstance(reason, TimeoutError) else str(reason)
    return BrokerError(
        f"Kafka cannot be reached ({text})",
        where=connection.bootstrap,
        todo="check the address and try again, or start a local Kafka: alertstream broker",
    )


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
        case kafka_errors.AuthenticationFailedError():
            return (
                SecurityError,
                f"Kafka rejects the credentials of {connection.username} ({error})",
                "check --username, --password-file and --sasl-mechanism",
            )
        case kafka_errors.UnsupportedSaslMechanismError():
            what = f"Kafka does not offer {connection.sasl_mechanism}"
            return SecurityError, what, "choose another --sasl-mechanism"
        case kafka_errors.TopicAuthorizationFailedError():
            what = f"no right to use the topic {subject}"
            return SecurityError, what, "ask for it, or check the name"
        case kafka_errors.GroupAuthorizationFailedError():
            what = f"no right to use the group {subject}"
            todo = "choose another --group; on some streams it must begin with the user's name"
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
    kafka_errors.InvalidTopicError,
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.TransactionalIdAuthorizationFailed,
)
"""Why messages are refused, however often they are sent."""


def failed_delivery(connection: Connection, error: BaseException, count: int) -> DeliveryError:
    """Return the error that says why ``count`` messages were not acknowledged."""
    if type(error) is kafka_errors.KafkaError and isinstance(error.__cause__, Exception):
        error = error.__cause__
    what, todo = "no answer in time", "see that all brokers are up, and try again"
    if isinstance(error, kafka_errors.KafkaError) and not error.retriable:
        _, what, own = _meaning(connection, error)
        todo = own or todo
    failed = DeliveryError(
        f"alerts not acknowledged: {count}, because of {what}",
        where=connection.bootstrap,
        todo=todo,
    )
    failed.passing = not isinstance(error, _LASTING)
    return failed
