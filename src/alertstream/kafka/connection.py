"""How to reach Kafka: addresses, encryption, credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alertstream.errors import UsageError
from alertstream.system.tls import client_context, identify

DEFAULT_PORT = 9092
CONNECT_TIMEOUT = 8.0
"""Seconds in which Kafka must answer at first."""
FAILOVER_TIMEOUT = 75.0
"""Seconds in which others take over from a broker that has died: Kafka notices after 9, but its own
requests to a controller that is silent take 30."""
POLL_INTERVAL = 0.2
"""Seconds between looks whether to stop, while nothing comes."""
METADATA_MAX_AGE_MS = 5_000
"""Until a topic or partition that is new, or gone, is noticed."""
TRANSACTION_TIMEOUT = 20.0
"""Seconds after which Kafka aborts a transaction whose producer is gone: until then, nothing after
it can be read."""


@dataclass(frozen=True)
class Connection:
    """How to reach Kafka.

    :param bootstrap: ``HOST:PORT``, several with commas; port 9092 if none is given.
    :raises UsageError: an address or a combination of settings is not valid.
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
                raise UsageError(f"{address!r} is not HOST:PORT", todo="as in localhost:9092")
            if not address.strip():
                raise UsageError("the broker has no name", todo="as in localhost:9092")
        for chosen, known in (
            (self.security_protocol, ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")),
            (self.sasl_mechanism, ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")),
        ):
            if chosen not in known:
                raise UsageError(f"{chosen} is not known", todo=f"choose one of {', '.join(known)}")
        if self.is_authenticated and not (self.username and self.password):
            missing = "password" if self.username else "user name"
            raise UsageError(
                f"{self.security_protocol} needs a {missing}",
                todo="give --username, and --password-file or the variable ALERTSTREAM_PASSWORD",
            )
        if self.key_file and not self.cert_file:
            raise UsageError("a key is of no use without its certificate", todo="give --cert-file")

    @classmethod
    def to(cls, broker: str | Connection) -> Connection:
        """Return a connection, given as one or by the broker's address.

        :raises UsageError: the address is not valid.
        """
        return broker if isinstance(broker, Connection) else cls(broker)

    @property
    def is_encrypted(self) -> bool:
        """Whether it is made with TLS."""
        return self.security_protocol.endswith("SSL")

    @property
    def is_authenticated(self) -> bool:
        """Whether it is made with a user name and password."""
        return self.security_protocol.startswith("SASL")

    @property
    def has_rights(self) -> bool:
        """Whether Kafka knows the user, and may hide what the user has no right to."""
        return self.is_authenticated or self.cert_file is not None

    def addresses(self) -> list[tuple[str, int]]:
        """Return the hosts and ports to connect to at first."""
        found = []
        for each in self.bootstrap.split(","):
            host, _, port = each.strip().rpartition(":")
            # An IPv6 address stands in brackets.
            found.append((host.strip("[]"), int(port)) if host else (port, DEFAULT_PORT))
        return found

    def settings(self) -> dict[str, Any]:
        """Return what aiokafka's clients take.

        :raises SecurityError: a certificate or key cannot be used.
        """
        context = None
        if self.is_encrypted:
            context = client_context(self.ca_file)
            if self.cert_file:
                identify(context, self.cert_file, self.key_file)
        return {
            "bootstrap_servers": [each.strip() for each in self.bootstrap.split(",")],
            "client_id": "alertstream",
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
            "ssl_context": context,
        }
