"""The local Kafka's listeners with access control: TLS, users, rights.

Clients connect to a listener of the protocol that was asked for. The nodes talk to each other
through two more, as a user whose password is new at each start. The first user of the
users' file may do everything; the others what Kafka's ACLs allow them: nothing at first.
"""

from __future__ import annotations

import json
import re
import secrets
import ssl
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alertstream.errors import SecurityError, UsageError
from alertstream.kafka.admin import KINDS, OPERATIONS, Acl
from alertstream.kafka.connection import Connection
from alertstream.system.tls import CERTIFICATE, KEY, identify, read_pem, trust

NODE = "alertstream-node"
"""The nodes' user name among themselves."""
PLAIN_LOGIN = "plain.PlainLoginModule"
USER_NAME = re.compile(r"[A-Za-z0-9._@-]+")


@dataclass(frozen=True)
class ListenerSecurity:
    """Who may connect, and how.

    :param protocol: Kafka's security protocol for clients.
    :param cert_file: the server's certificate, its chain, and its key unless in ``key_file``.
    :param ca_file: if given, clients must show a certificate that one of these has signed.
    :param users_file: lines ``NAME:PASSWORD``.
    :param acl_file: lines ``USER OPERATION[,OPERATION...] KIND NAME``; None: rights stay.
    :raises UsageError: these do not go together.
    """

    protocol: str = "PLAINTEXT"
    cert_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None
    users_file: Path | None = None
    acl_file: Path | None = None

    def __post_init__(self) -> None:
        encrypted, has_users = self.protocol.endswith("SSL"), self.protocol.startswith("SASL")
        if encrypted and not self.cert_file:
            raise UsageError(
                f"{self.protocol} needs a certificate", todo="give --cert-file and --key-file"
            )
        if not encrypted and (self.cert_file or self.key_file or self.ca_file):
            raise UsageError(
                f"{self.protocol} has no certificates",
                todo="choose --security-protocol SSL or SASL_SSL",
            )
        todo = "give --users, with --security-protocol SASL_SSL or SASL_PLAINTEXT"
        if has_users != (self.users_file is not None):
            what = f"{self.protocol} {'needs' if has_users else 'has no'} users"
            raise UsageError(what, todo=todo)
        if self.acl_file and not has_users:
            raise UsageError("--acl needs users, whose rights it says", todo=todo)


@dataclass(frozen=True)
class SecureListeners:
    """The listeners of one run, and who may connect to them.

    :param addresses: each node's listener for the other nodes, ``HOST:PORT``.
    :param users: passwords by name; the first may do everything.
    :param certificates: Kafka's properties for TLS.
    :param acls: the users' rights; None: they stay as they are.
    :param secret: the nodes' password.
    """

    protocol: str
    addresses: Sequence[str]
    users: Mapping[str, str] = field(repr=False)
    certificates: Mapping[str, str] = field(repr=False)
    acls: Sequence[Acl] | None = None
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def properties(self, number: int, plain: Mapping[str, str]) -> dict[str, str]:
        """Return a node's configuration, made of the ``plain`` one that lets everybody in."""
        if self.protocol == "PLAINTEXT":
            return dict(plain)
        nodes = f",NODES://{self.addresses[number - 1]}"
        login = jaas(PLAIN_LOGIN, {**self._credentials, f"user_{NODE}": self.secret})
        properties = {
            **plain,
            "listeners": plain["listeners"] + nodes,
            "advertised.listeners": plain["advertised.listeners"] + nodes,
            "listener.security.protocol.map": f"CLIENTS:{self.protocol},"
            "NODES:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
            "inter.broker.listener.name": "NODES",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.mechanism.controller.protocol": "PLAIN",
        }
        for listener in ("nodes", "controller"):
            properties[f"listener.name.{listener}.sasl.enabled.mechanisms"] = "PLAIN"
            properties[f"listener.name.{listener}.plain.sasl.jaas.config"] = login
        clients = dict(self.certificates)
        if self.users:
            scram = jaas("scram.ScramLoginModule", {})
            known = {f"user_{name}": password for name, password in self.users.items()}
            clients |= {
                "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
                "scram-sha-512.sasl.jaas.config": scram,
                "scram-sha-256.sasl.jaas.config": scram,
                "plain.sasl.jaas.config": jaas(PLAIN_LOGIN, known),
            }
            properties |= {
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": f"User:{NODE};User:{next(iter(self.users))}",
            }
        return properties | {f"listener.name.clients.{key}": clients[key] for key in clients}

    @property
    def admin_login(self) -> dict[str, str]:
        """How an admin client logs in at ``addresses``, as Kafka's tools read it."""
        return {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.jaas.config": jaas(PLAIN_LOGIN, self._credentials),
        }

    @property
    def admin(self) -> Connection:
        """How our own admin client logs in there."""
        return Connection(",".join(self.addresses), "SASL_PLAINTEXT", "PLAIN", NODE, self.secret)

    @property
    def _credentials(self) -> dict[str, str]:
        return {"username": NODE, "password": self.secret}


def jaas(module: str, options: Mapping[str, str]) -> str:
    """Return a line of Java's authentication configuration; its strings are quoted like JSON's."""
    given = "".join(
        f" {json.dumps(name)}={json.dumps(value, ensure_ascii=False)}"
        for name, value in options.items()
    )
    return f"org.apache.kafka.common.security.{module} required{given};"


def secure_listeners(security: ListenerSecurity, addresses: Sequence[str]) -> SecureListeners:
    """Read the files of certificates and users.

    :raises SecurityError: a file cannot be used.
    """
    users = read_users(security.users_file) if security.users_file else {}
    acls = read_acls(security.acl_file, users) if security.acl_file else None
    return SecureListeners(security.protocol, addresses, users, _certificates(security), acls)


def read_users(path: Path) -> dict[str, str]:
    """Return the passwords of a users' file, by name.

    :raises SecurityError: it cannot be read, or a line is not a new ``NAME:PASSWORD``.
    """
    todo = "write one NAME:PASSWORD per line"
    users: dict[str, str] = {}
    for number, line in _lines(path, "users' file", "--users"):
        name, _, password = line.partition(":")
        if not USER_NAME.fullmatch(name) or not password or name in {*users, NODE}:
            raise SecurityError(
                f"line {number} is not a valid new user",
                where=str(path),
                todo=f"{todo}; names have letters, digits and . _ @ -",
            )
        users[name] = password
    if not users:
        raise SecurityError("the file has no users", where=str(path), todo=todo)
    return users


def read_acls(path: Path, users: Collection[str]) -> list[Acl]:
    """Return the rights that a file says these users have, ``#`` begins a comment there.

    :raises SecurityError: it cannot be read, or a line is not ``USER OPERATION KIND NAME``.
    """
    acls = []
    for number, line in _lines(path, "file of rights", "--acl"):
        words = line.partition("#")[0].split()
        if not words:
            continue
        what, todo = "", "write USER OPERATION KIND NAME, as in: ada read topic alerts"
        if len(words) != 4:
            what = "is not a right"
        elif words[0] not in users:
            what, todo = f"names {words[0]}, who is not in the users' file", "add it to --users"
        elif words[2] not in KINDS:
            what, todo = f"names no kind: {words[2]}", f"choose one of {', '.join(KINDS)}"
        elif unknown := {*words[1].split(",")} - {*OPERATIONS}:
            what = f"names no operation: {', '.join(sorted(unknown))}"
            todo = f"choose some of {', '.join(OPERATIONS)}"
        if what:
            raise SecurityError(f"line {number} {what}", where=str(path), todo=todo)
        user, operations, kind, name = words
        acls += [Acl(user, operation, kind, name) for operation in operations.split(",")]
    return acls


def _lines(path: Path, what: str, option: str) -> list[tuple[int, str]]:
    """Return a file's lines that are not empty, with their numbers."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SecurityError(
            f"the {what} cannot be read ({getattr(error, 'strerror', 'not UTF-8')})",
            where=str(path),
            todo=f"check {option}",
        ) from error
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _certificates(security: ListenerSecurity) -> dict[str, str]:
    if security.cert_file is None:
        return {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identify(context, security.cert_file, security.key_file)
    key_file = security.key_file or security.cert_file
    key = read_pem(key_file, KEY, "--key-file")
    if "-----BEGIN PRIVATE KEY-----" not in key:
        raise SecurityError(
            "Kafka needs the key as PKCS#8, with a line -----BEGIN PRIVATE KEY-----",
            where=str(key_file),
            todo=f"openssl pkcs8 -topk8 -nocrypt -in {key_file} -out NEW.key && chmod 600 NEW.key",
        )
    properties = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": read_pem(security.cert_file, CERTIFICATE, "--cert-file"),
        "ssl.keystore.key": key,
    }
    if security.ca_file:
        trust(context, security.ca_file)
        properties |= {
            "ssl.truststore.type": "PEM",
            "ssl.truststore.certificates": read_pem(security.ca_file, CERTIFICATE, "--ca-file"),
            "ssl.client.auth": "required",
        }
    return properties
