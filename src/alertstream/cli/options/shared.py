"""Options that commands share: each group is a dataclass, which commands inherit from.

A command is a dataclass, too: typer makes one from the command line, and then it is run. Nothing
heavy is imported here, so that help appears at once. There is no ``from __future__ import
annotations``, as typer evaluates these where a command is defined, not here.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from alertstream.cli.options.completion import quietly
from alertstream.cli.options.log_format import log_as
from alertstream.cli.options.parsing import profile, warn_if_open
from alertstream.errors import UsageError, notice

if TYPE_CHECKING:
    from alertstream.kafka.connection import Connection


def option_group(heading: str, **always: Any) -> Callable[..., Any]:
    """Return a function that makes options under a heading of the help.

    It takes an option's default, its help, what stands for its value (``metavar``), its ``names``
    if they do not follow from the field's, and what else ``typer.Option`` takes, as ``always``
    does. Choices are case-insensitive.
    """

    def option(
        default: Any, help: str, metavar: str | None = None, names: Sequence[str] = (), **more: Any
    ) -> Any:
        more |= {"metavar": metavar, "rich_help_panel": heading, "case_sensitive": False}
        return typer.Option(default, *names, help=help, **always, **more)

    return option


_processes = option_group("Processes", allow_from_autoenv=False)
_general = option_group("General")
_output = option_group("Output")
_connection = option_group("Connection")

_SECURITY = (
    *("security_protocol", "sasl_mechanism", "username", "password_file"),
    *("ca_file", "cert_file", "key_file"),
)
"""The settings of a connection that a profile may have."""
TOPICS_TIMEOUT = 0.7
"""Seconds in which Kafka must list its topics, for a shell to complete them."""


@quietly
def complete_topics(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer the topics of the broker that the command line, or its profile, names."""
    import asyncio

    from alertstream.kafka.admin import topics

    values: dict[str, Any] = {each.name: ctx.params.get(each.name) for each in fields(KafkaOptions)}
    connection = KafkaOptions(**values | {"context": ctx}).connection()
    there = asyncio.run(asyncio.wait_for(topics(connection), TOPICS_TIMEOUT))
    hidden = () if incomplete.startswith("_") else ("_",)
    given = ctx.params.get("topics") or ()
    return sorted(each for each in there if each not in given and not each.startswith(hidden))


def broker_argument(default: Any = ...) -> Any:
    """Return the argument BROKER, which is required without a default."""
    help = "Kafka's address, HOST:PORT; several with commas."
    return typer.Argument(default, metavar="BROKER", help=help)


def topic_argument(
    default: Any = ..., help: str = "The topic, or a pattern such as 'alerts-*'."
) -> Any:
    """Return the argument TOPIC, which is required without a default."""
    return typer.Argument(default, metavar="TOPIC", help=help, autocompletion=complete_topics)


Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every command takes."""

    context: typer.Context
    quiet: bool = _general(False, "Show errors only.", names=("--quiet", "-q"))
    log_format: Literal["text", "json"] = _general(
        "text",
        "What goes to standard error: text, or json, one object per line.",
        "FORMAT",
        callback=log_as,
        is_eager=True,
    )

    def run(self) -> int:
        """Run the command; return its exit status."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class FormatOptions(Options):
    """How to write results."""

    format: Literal["text", "json"] = _output(
        "text", "text, for people, or json, one object per line.", "FORMAT"
    )


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(Options):
    """How many processes share the work, and whether this is one of them."""

    workers: int = _processes(1, "Processes that share the work.", "N", min=1)
    worker: bool = _processes(False, "", names=("--worker",), hidden=True)


@dataclass(frozen=True, kw_only=True)
class KafkaOptions(Options):
    """How to reach Kafka."""

    broker: str = broker_argument()
    security_protocol: Protocol = _connection(
        "PLAINTEXT", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.", "PROTOCOL"
    )
    sasl_mechanism: Mechanism = _connection(
        "SCRAM-SHA-512", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.", "MECHANISM"
    )
    username: str | None = _connection(None, "User name for SASL.", "NAME")
    password_file: Path | None = _connection(
        None, "File with the password; or set ALERTSTREAM_PASSWORD.", "FILE"
    )
    ca_file: Path | None = _connection(
        None, "Certificates to trust, and no others, PEM; default: the system's.", "FILE"
    )
    cert_file: Path | None = _connection(None, "The client's certificate, PEM.", "FILE")
    key_file: Path | None = _connection(None, "Its key, if that is in a separate file.", "FILE")

    def connection(self) -> "Connection":
        """Return how to reach Kafka.

        :raises UsageError: an option is invalid, or the password file cannot be read.
        """
        from alertstream.kafka.connection import Connection

        protocol, password = self.security_protocol, self._password()
        if not protocol.startswith("SASL") and (self.username or password):
            _notice_unused(protocol, "user name and password are", "SASL_SSL")
        if not protocol.endswith("SSL") and (self.ca_file or self.cert_file or self.key_file):
            _notice_unused(protocol, "certificates are", "SASL_SSL or SSL")
        return Connection(
            bootstrap=self.broker,
            security_protocol=protocol,
            sasl_mechanism=self.sasl_mechanism,
            username=self.username,
            password=password,
            ca_file=self.ca_file,
            cert_file=self.cert_file,
            key_file=self.key_file,
        )

    def _password(self) -> str | None:
        """Return the password from the named file, else the environment, else the configuration."""
        source = self.context.get_parameter_source("password_file")
        configured = source is not None and source.name == "DEFAULT_MAP"
        in_environment = os.environ.get("ALERTSTREAM_PASSWORD")
        if in_environment and (self.password_file is None or configured):
            return in_environment
        if self.password_file is not None:
            return password_in(self.password_file, "--password-file")
        password = self.context.lookup_default("password")
        return None if password is None else str(password)


def _notice_unused(protocol: str, what: str, needed: str) -> None:
    notice(
        f"notice: {what} not used with {protocol} · to use them, add --security-protocol {needed}"
    )


def password_in(file: Path, option: str) -> str:
    """Return the password that a file holds.

    :raises UsageError: it cannot be read, or is empty.
    """
    try:
        password = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        what = f"the password file cannot be read ({getattr(error, 'strerror', 'not text')})"
        raise UsageError(what, where=str(file), todo=f"check {option}") from error
    if not password:
        raise UsageError("the password file is empty", where=str(file), todo="write it there")
    warn_if_open(file)
    return password


@dataclass(frozen=True, kw_only=True)
class TargetOptions(KafkaOptions):
    """Which Kafka to write to, if it is not the one that is read."""

    to: str | None = _connection(
        None,
        "Kafka that is written to, where BROKER may only be read: HOST:PORT, or a profile with "
        "its own security.",
        "CLUSTER",
    )

    def target(self) -> "Connection | None":
        """Return how to reach the Kafka to write to; None if that is BROKER.

        :raises UsageError: there is no such profile, or it does not say where it is.
        """
        from alertstream.kafka.connection import Connection

        if self.to is None:
            return None
        if ":" in self.to:
            return Connection(self.to)
        try:
            named = profile(self.context.find_root().params.get("config"), self.to)
        except UsageError as error:
            todo = f"give HOST:PORT, as in --to {self.to}:9092, or write [profiles.{self.to}] there"
            raise UsageError(error.what, where=error.where, todo=todo) from error
        if not isinstance(named.get("broker"), str):
            what = f"the profile {self.to} does not name its broker"
            raise UsageError(what, where="--to", todo='write broker = "HOST:PORT" there')
        # As they would be taken from the command line.
        options = {each.name: each for each in self.context.command.params}
        given: dict[str, Any] = {
            name: options[name].process_value(self.context, named[name])
            for name in _SECURITY
            if name in named
        }
        if "password_file" in given:
            given["password"] = password_in(given.pop("password_file"), "password_file")
        elif "password" in named:
            given["password"] = str(named["password"])
        try:
            return Connection(named["broker"], **given)
        except UsageError as error:
            where, todo = f"the profile {self.to}", "write it there"
            raise UsageError(error.what, where=where, todo=todo) from error
