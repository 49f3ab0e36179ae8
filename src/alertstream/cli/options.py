"""Options that several commands share.

Nothing heavy is imported here, so that help comes at once.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alertstream.cli.option_groups import choice, shared_variable
from alertstream.cli.settings import warn_if_open
from alertstream.cli.terminal.output import notice
from alertstream.errors import UsageError

if TYPE_CHECKING:
    from alertstream.avro.registry import RegistrySchemas
    from alertstream.avro.schemas import Schemas
    from alertstream.kafka.connection import Connection
    from alertstream.kafka.subscription import Subscription
    from alertstream.local.broker.security import ListenerSecurity

SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


def connection(
    context: typer.Context,
    broker: Annotated[
        str, typer.Argument(metavar="BROKER", help="Kafka's address, HOST:PORT; more with commas.")
    ],
    security_protocol: Annotated[
        str,
        choice("security protocol", SECURITY_PROTOCOLS),
    ] = "PLAINTEXT",
    sasl_mechanism: Annotated[
        str,
        choice("SASL mechanism", ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")),
    ] = "SCRAM-SHA-512",
    username: Annotated[str | None, typer.Option(help="User name for SASL.")] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(help="File with the password; else the variable ALERTSTREAM_PASSWORD."),
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Certificates to trust, PEM; default: the system's.")
    ] = None,
    cert_file: Annotated[Path | None, typer.Option(help="The client's certificate, PEM.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="Its key, if in a file of its own.")] = None,
) -> Connection:
    """Return how to reach Kafka.

    :raises UsageError: an option cannot be meant, or the password file cannot be read.
    """
    from alertstream.kafka.connection import Connection

    secret, certificates = _password(context, password_file), ca_file or cert_file or key_file
    if not security_protocol.startswith("SASL"):
        user = username or secret
        _tell_unused(security_protocol, "user name and no password", user, "SASL_SSL")
    if not security_protocol.endswith("SSL"):
        _tell_unused(security_protocol, "certificates", certificates, "SASL_SSL or SSL")
    return Connection(
        bootstrap=broker,
        security_protocol=security_protocol,
        sasl_mechanism=sasl_mechanism,
        username=username,
        password=secret,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
    )


def with_default_broker(make: Callable[..., Any], broker: str) -> Callable[..., Any]:
    """Return a group of options as ``make``, for a command that BROKER may be left out of."""
    signature = inspect.signature(make)
    parameters = [
        each.replace(default=broker) if each.name == "broker" else each
        for each in signature.parameters.values()
    ]

    @wraps(make)
    def made(**values: Any) -> Any:
        return make(**values)

    # Those without a default come first.
    parameters.sort(key=lambda each: each.default is not inspect.Parameter.empty)
    made.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return made


def _tell_unused(protocol: str, what: str, given: object, needed: str) -> None:
    if given:
        notice(
            f"notice: {protocol} takes no {what}: what is given is not used · "
            f"if it shall be, choose --security-protocol {needed}"
        )


def _password(context: typer.Context, file: Path | None) -> str | None:
    """Return the password: a file's that is named before the environment's, the configured last."""
    source = context.get_parameter_source("password_file")
    configured = source is not None and source.name == "DEFAULT_MAP"
    in_environment = os.environ.get(shared_variable("password"))
    if in_environment and (file is None or configured):
        return in_environment
    if file is None:
        password = (context.default_map or {}).get("password")
        return None if password is None else str(password)
    return _password_in(file, "--password-file")


def _password_in(file: Path, option: str) -> str:
    try:
        password = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the password file cannot be read ({getattr(error, 'strerror', 'no text')})",
            where=str(file),
            todo=f"check {option}",
        ) from error
    if not password:
        raise UsageError("the password file is empty", where=str(file), todo="write it there")
    warn_if_open(file)
    return password


def listener_security(
    security_protocol: Annotated[
        str,
        choice(
            "security protocol",
            SECURITY_PROTOCOLS,
            help="What clients speak: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
        ),
    ] = "PLAINTEXT",
    cert_file: Annotated[Path | None, typer.Option(help="The server's certificate, PEM.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="Its key, if in a file of its own.")] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Clients must have a certificate that one of these signed.")
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(help="File with lines NAME:PASSWORD; the first may do everything."),
    ] = None,
) -> ListenerSecurity:
    """Return whom a local Kafka lets in.

    :raises UsageError: an option cannot be meant, or does not go with another.
    """
    from alertstream.local.broker.security import ListenerSecurity

    security = ListenerSecurity(security_protocol, cert_file, key_file, ca_file, users)
    if users and users.exists():
        warn_if_open(users)
    return security


Folders = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR",
        help="Folder with .avsc files, before the package's own; send keeps new ones in the first.",
    ),
]
RegistryUsername = Annotated[
    str | None, typer.Option(metavar="NAME", help="User name for the registry.")
]
RegistryPasswordFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="File with its password; else ALERTSTREAM_REGISTRY_PASSWORD."
    ),
]
RegistryCaFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Certificates to trust for it, PEM.")
]


def folders(schemas: Folders = None) -> Schemas:
    """Return where schemas are looked up that no registry has to know."""
    from alertstream.avro.schemas import Schemas

    return Schemas(schemas or ())


def schemas(
    schemas: Folders = None,
    registry: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Schema registry that says what an id means."),
    ] = None,
    registry_username: RegistryUsername = None,
    registry_password_file: RegistryPasswordFile = None,
    registry_ca_file: RegistryCaFile = None,
) -> Schemas:
    """Return where schemas are looked up: in a registry, if one is given, and in folders.

    :raises UsageError: an option cannot be meant, or the password file cannot be read.
    """
    if registry is None:
        return folders(schemas)
    return _of_registry(
        registry, registry_username, registry_password_file, registry_ca_file, schemas or ()
    )


def registry_schemas(
    registry: Annotated[
        str, typer.Argument(metavar="URL", help="The registry, as in https://HOST/schema-registry.")
    ],
    registry_username: RegistryUsername = None,
    registry_password_file: RegistryPasswordFile = None,
    registry_ca_file: RegistryCaFile = None,
) -> RegistrySchemas:
    """Return the schemas of a registry.

    :raises UsageError: an option cannot be meant, or the password file cannot be read.
    """
    return _of_registry(registry, registry_username, registry_password_file, registry_ca_file)


def _of_registry(
    url: str,
    username: str | None,
    password_file: Path | None,
    ca_file: Path | None,
    folders: Sequence[Path] = (),
) -> RegistrySchemas:
    from platformdirs import user_cache_path

    from alertstream.avro.registry import Registry, RegistrySchemas

    password = os.environ.get(shared_variable("registry_password"))
    if username and password_file:
        password = _password_in(password_file, "--registry-password-file")
    registry = Registry(url, username, password, ca_file)
    return RegistrySchemas(registry, folders, user_cache_path("alertstream") / "registry")


@dataclass(frozen=True)
class Reading:
    """How topics are read: as which group, from where on, and how far."""

    group: str | None
    start: str | int | datetime
    start_is_given: bool
    until: int | datetime | None
    exit_on_eof: bool
    group_prefix: str = ""

    def group_or(self, default: str) -> str:
        """Return the group's name, or one for those who have not chosen any."""
        return self.group or f"{self.group_prefix}{default}"

    def subscription(
        self, topics: tuple[str, ...], group: str | None = None, instance: str | None = None
    ) -> Subscription:
        """Return the subscription to topics that is read so, as ``group`` if none is given."""
        from alertstream.kafka.subscription import Subscription

        chosen = self.group or group
        return Subscription(topics, chosen, self.start, self.until, self.exit_on_eof, instance)


def reading(
    group: Annotated[
        str | None,
        typer.Option(
            "--group", "-g", help="Consumer group that remembers what was read (filter has one)."
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="WHERE",
            help="Where to start: earliest (default), latest, a time, an offset; -100: the last "
            "100 offsets of each partition.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="WHERE", help="Where to end: before a time, or an offset."),
    ] = None,
    exit_on_eof: Annotated[
        bool, typer.Option("--exit-on-eof", help="Stop where the topic ends at the start.")
    ] = False,
    group_prefix: Annotated[
        str, typer.Option(metavar="TEXT", help="What a group's name must begin with there.")
    ] = "",
) -> Reading:
    """Return how a topic is read.

    :raises UsageError: there is no such place to start from.
    """
    end = None if until is None else _time_or_offset(until, "to end at")
    if isinstance(end, int) and end < 0:
        raise UsageError(f"{end} is no offset to end at", todo="give one from 0 on, or a time")
    if group is not None and not group.startswith(group_prefix):
        raise UsageError(
            f"the group {group} does not begin with {group_prefix}",
            todo=f"choose one that does, as in --group {group_prefix}{group}",
        )
    start = start_of(from_)
    return Reading(group, start, from_ is not None, end, exit_on_eof, group_prefix)


@dataclass(frozen=True)
class Sharing:
    """How many processes share the work, and whether this is one that others have started."""

    workers: int
    is_worker: bool


def sharing(
    workers: Annotated[
        int, typer.Option(min=1, metavar="N", help="Processes that share the work.")
    ] = 1,
    worker: Annotated[bool, typer.Option("--worker", hidden=True)] = False,
) -> Sharing:
    """Return how the work is shared."""
    return Sharing(workers, worker)


def part_of_visit(text: str | None) -> tuple[int, int]:
    """Return which part of each visit, from 1 on, of how many; all of it without ``text``.

    :raises UsageError: it is none.
    """
    found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text or "1/1")
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"{text} is no part of a visit", todo="give it as 2/3, the second third")
    return int(found[1]), int(found[2])


def start_of(text: str | None) -> str | int | datetime:
    """Return where to start: ``earliest``, ``latest``, an offset, or a time (ISO 8601, UTC).

    :raises UsageError: it is none of these.
    """
    if text in (None, "earliest", "latest"):
        return text or "earliest"
    return _time_or_offset(text, "to start from", "earliest, latest, ")


def _time_or_offset(text: str, purpose: str, others: str = "") -> int | datetime:
    # A day without its dashes would be a number, too, and is taken for an offset.
    if re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text} is no time {purpose}",
            todo=f"give {others}an offset, or a time such as 2026-11-24T21:30",
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


async def notice_start(
    connection: Connection, subscription: Subscription, reading: Reading
) -> None:
    """Say so, if ``--from`` has no effect because the group goes on where it was."""
    from alertstream.kafka.admin import has_committed

    group = subscription.group
    if not (reading.start_is_given and group):
        return
    if await has_committed(connection, group, subscription.topics):
        notice(f"the group {group} goes on where it has stopped: --from has no effect")
