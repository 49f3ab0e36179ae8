"""Options that several commands share, and where all options may come from.

An option is taken from the command line, else from the environment (``ALERTSTREAM_SEND_INTERVAL``
for one command, ``ALERTSTREAM_INTERVAL`` for all that have it), else from the configuration file::

    username = "ada"                    # for every command that has this option
    password_file = "/home/ada/.kafka"
    [send]
    interval = 37
    [profiles.rubin]                    # with --profile rubin; has BROKER, too
    broker = "HOST:PORT"

Nothing heavy is imported here, so that help comes at once.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand
from typer.models import OptionInfo

from alertstream.console import notice, set_quiet, waiting
from alertstream.errors import UsageError

if TYPE_CHECKING:
    from alertstream.broker_security import ListenerSecurity
    from alertstream.connection import Connection
    from alertstream.registry import RegistrySchemas
    from alertstream.schemas import Schemas
    from alertstream.stream import Subscription

PREFIX = "ALERTSTREAM"
SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

ROOT_OPTIONS = ("--config", "--profile")
"""Options of the program itself that take a value."""

Command = Callable[..., Any]


@dataclass(frozen=True)
class Group:
    """Stands as the default of a command's parameter that several options make together.

    ``make`` has these options as its own parameters, and returns the parameter's value, which is
    None if one is left out that it cannot do without. What the environment or the configuration
    file set for all commands holds for ``shared`` options only.
    """

    make: Callable[..., Any]
    shared: bool = True


def group(make: Callable[..., Any], *, shared: bool = True) -> Any:
    """Return the default that stands for a group of options."""
    return Group(make, shared)


def command(
    app: typer.Typer, name: str | None = None, without_kafka: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Register a command whose parameters may be groups of options.

    :param without_kafka: parameters with which it needs no Kafka, nor takes BROKER and TOPIC.
    """

    def register(function: Command) -> Command:
        called = name or function.__name__
        members: dict[str, list[str]] = {}
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(function).parameters.values():
            if isinstance(parameter.default, Group):
                made = _parameters(parameter.default.make, called, shared=parameter.default.shared)
                members[parameter.name] = [each.name for each in made]
                parameters += made
            else:
                parameters += _parameters(function, called, only=parameter.name)
        parameters += _parameters(quiet, called)

        @wraps(function)
        def run(quiet: bool, **values: Any) -> Any:
            set_quiet(quiet)
            host = values.get("broker") or values.get("registry")
            with waiting(f"waiting for {host}" if host else f"{called}: working"):
                for parameter, names in members.items():
                    make = inspect.signature(function).parameters[parameter].default.make
                    made_of = {each: values.pop(each) for each in names}
                    complete = all(made_of[each] is not None for each in _required(make))
                    values[parameter] = make(**made_of) if complete else None
                return function(**values)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        app.command(called, cls=_without_kafka(without_kafka) if without_kafka else None)(run)
        return function

    return register


def quiet(
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No notices, and no bars; errors are told.")
    ] = False,
) -> bool:
    """Return whether only errors are told."""
    return quiet


def _required(make: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(make).parameters.values()
    return [each.name for each in parameters if each.default is each.empty]


def _without_kafka(names: Collection[str]) -> type[TyperCommand]:
    """Return the class of a command that takes no BROKER and TOPIC with one of these parameters."""

    class WithoutKafka(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if self._does_without(ctx, list(args)):
                self.params = [each for each in self.params if each.name not in ("broker", "topic")]
            return super().parse_args(ctx, args)

        def _does_without(self, ctx: Any, args: list[str]) -> bool:
            given, _, _ = self.make_parser(ctx).parse_args(args)
            chosen = [each for each in self.params if each.name in names]
            return any(
                each.handle_parse_result(ctx, given, [])[0] not in (None, False) for each in chosen
            )

    return WithoutKafka


def _parameters(
    function: Command, command_name: str, only: str | None = None, *, shared: bool = True
) -> list[inspect.Parameter]:
    """Return a function's parameters for typer, with the names of their environment variables."""
    named = [
        each
        for each in inspect.signature(function).parameters.values()
        if only is None or each.name == only
    ]
    raw = {each.name: each.annotation for each in named}
    hints = get_type_hints(
        type("Hints", (), {"__annotations__": raw}),
        globalns=function.__globals__,
        include_extras=True,
    )
    return [
        each.replace(
            annotation=_with_environment(hints[each.name], command_name, each.name, shared),
            kind=inspect.Parameter.KEYWORD_ONLY,
        )
        for each in named
    ]


def _with_environment(annotation: Any, command_name: str, name: str, shared: bool) -> Any:
    kind, *extras = get_args(annotation) or (annotation,)
    if not extras or not isinstance(extras[0], OptionInfo):
        return annotation
    option = copy(extras[0])
    name = name.rstrip("_")
    option.envvar = [f"{PREFIX}_{command_name}_{name}".upper()]
    if shared:
        option.envvar.append(shared_variable(name))
    option.show_envvar = False
    return Annotated[kind, option]


def shared_variable(name: str) -> str:
    """Return the environment variable that sets an option of all commands that have it."""
    return f"{PREFIX}_{name}".upper()


def config_defaults(
    path: Path | None, commands: Mapping[str, Mapping[str, bool]], profile: str | None = None
) -> tuple[dict[str, dict[str, Any]], str | None]:
    """Read the configuration file; return each command's defaults, and a profile's broker.

    What a profile sets comes before what is set for all commands or for one. A password is among
    them wherever ``password_file`` is an option, though it is none itself: it would be seen in the
    list of processes.

    :param path: None is ``config.toml`` in the user's configuration folder, if it is there.
    :param commands: the parameters of each command's options, and whether they may be set for all
        commands; one whose name Python keeps for itself, as ``from``, ends in an underscore, which
        the file does not have.
    :param profile: the table of ``profiles`` that is chosen.
    :raises UsageError: the file cannot be read, sets what no command has, or has no such profile.
    """
    file = config_file(path)
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        if path is None and profile is None:
            return {}, None
        raise UsageError(f"no file to read: {error.strerror}", where=str(file)) from error
    except ValueError as error:
        raise UsageError(f"no TOML: {error}", where=str(file)) from error
    settings = _underscored(settings)
    chosen_profile = _profile(settings.pop("profiles", {}), profile, file)
    broker = chosen_profile.pop("broker", None)
    if not isinstance(broker, str | None):
        raise UsageError("broker is no text", where=str(file), todo='write "HOST:PORT"')
    tables = {key: value for key, value in settings.items() if isinstance(value, dict)}
    common = {key: value for key, value in settings.items() if key not in tables}
    known = {name: {each.rstrip("_"): each for each in names} for name, names in commands.items()}
    for parameters in known.values():
        if "password_file" in parameters:
            parameters["password"] = "password"
    shared = {
        name: {key for key, each in parameters.items() if commands[name].get(each, True)}
        for name, parameters in known.items()
    }
    if any("password" in each for each in (common, chosen_profile, *tables.values())):
        warn_if_open(file)
    for settings in (common, chosen_profile):
        _require_known(settings, set().union(*shared.values()), file)
    _require_known(tables, set(commands), file)
    defaults = {}
    for name, parameters in known.items():
        own = _underscored(tables.get(name, {}))
        _require_known(own, set(parameters), file)
        general, special = (
            {key: value for key, value in each.items() if key in shared[name]}
            for each in (common, chosen_profile)
        )
        chosen = general | own | special
        defaults[name] = {parameters[key]: value for key, value in chosen.items()}
    return defaults, broker


def config_file(path: Path | None) -> Path:
    """Return the configuration file: ``path``, or the one in the user's folder."""
    return path or Path(typer.get_app_dir("alertstream")) / "config.toml"


def _profile(profiles: Mapping[str, Any], name: str | None, file: Path) -> dict[str, Any]:
    if name is None:
        return {}
    if not isinstance(profiles, dict) or not isinstance(profiles.get(name), dict):
        known = ", ".join(profiles) or "none"
        raise UsageError(
            f"there is no profile {name}",
            where=str(file),
            todo=f"write it as [profiles.{name}]; there: {known}",
        )
    return _underscored(profiles[name])


def make_broker_an_option(command: Any, broker: str) -> None:
    """Let a command do without BROKER, since a profile has it; ``--broker`` names another."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def connect(broker: Annotated[str, typer.Option(help="Kafka's address.")] = broker) -> None:
        pass

    (option,) = typer.main.get_command(app).params
    for place, parameter in enumerate(command.params):
        if parameter.name == "broker" and parameter.param_type_name == "argument":
            command.params[place] = option


def _underscored(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("-", "_"): value for key, value in settings.items()}


def _require_known(given: Mapping[str, Any], known: set[str], file: Path) -> None:
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise UsageError(
                f"there is no option {name}",
                where=str(file),
                todo=f"did you mean {near[0]}?" if near else "remove it",
            )


def connection(
    context: typer.Context,
    broker: Annotated[
        str, typer.Argument(metavar="BROKER", help="Kafka's address, HOST:PORT; more with commas.")
    ],
    security_protocol: Annotated[
        str, typer.Option(help="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.")
    ] = "PLAINTEXT",
    sasl_mechanism: Annotated[
        str, typer.Option(help="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.")
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
    from alertstream.connection import Connection

    protocol = one_of("security protocol", security_protocol.upper(), SECURITY_PROTOCOLS)
    secret = _password(context, password_file)
    if not protocol.startswith("SASL"):
        _tell_unused(protocol, "user name and no password", username or secret, "SASL_SSL")
    if not protocol.endswith("SSL"):
        _tell_unused(protocol, "certificates", ca_file or cert_file or key_file, "SASL_SSL or SSL")
    return Connection(
        bootstrap=broker,
        security_protocol=protocol,
        sasl_mechanism=one_of("SASL mechanism", sasl_mechanism.upper(), SASL_MECHANISMS),
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


def warn_if_open(file: Path) -> None:
    """Tell the user if others may read a file that has a password in it."""
    if file.stat().st_mode & 0o044:
        notice(f"warning: others can read the password · {file} · chmod 600 {file}")


def listener_security(
    security_protocol: Annotated[
        str, typer.Option(help="What clients speak: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.")
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
    from alertstream.broker_security import ListenerSecurity

    protocol = one_of("security protocol", security_protocol.upper(), SECURITY_PROTOCOLS)
    security = ListenerSecurity(protocol, cert_file, key_file, ca_file, users)
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
    from alertstream.schemas import Schemas

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

    from alertstream.registry import Registry, RegistrySchemas

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
        from alertstream.stream import Subscription

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


def worker_command(*more: str) -> list[str]:
    """Return this process's command once more, as that of one of its workers."""
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    added = ["--worker", "--workers", "1", "--format", "json", *more]
    return [sys.executable, "-m", "alertstream", *given[:end], *added, *given[end:]]


def part_of_visit(text: str | None) -> tuple[int, int]:
    """Return which part of each visit, from 1 on, of how many; all of it without ``text``.

    :raises UsageError: it is none.
    """
    found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text or "1/1")
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"{text} is no part of a visit", todo="give it as 2/3, the second third")
    return int(found[1]), int(found[2])


def one_of(what: str, value: str, known: tuple[str, ...]) -> str:
    """Return ``value`` if it is known.

    :raises UsageError: it is not.
    """
    if value not in known:
        raise UsageError(f"there is no {what} {value}", todo=f"choose {', '.join(known)}")
    return value


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


def root_options_apart(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options that belong to no one command, as ``--debug``, and all the rest.

    They may stand anywhere.
    """
    first, rest, remaining = [], [], iter(arguments)
    for argument in remaining:
        if argument == "--debug" or argument.startswith(tuple(f"{o}=" for o in ROOT_OPTIONS)):
            first.append(argument)
        elif argument in ROOT_OPTIONS:
            first += [argument, *[value for value in [next(remaining, None)] if value]]
        else:
            rest.append(argument)
    return first, rest


async def notice_start(
    connection: Connection, subscription: Subscription, reading: Reading
) -> None:
    """Say so, if ``--from`` has no effect because the group goes on where it was."""
    from alertstream.topics import has_committed

    group = subscription.group
    if not (reading.start_is_given and group):
        return
    if await has_committed(connection, group, subscription.topics):
        notice(f"the group {group} goes on where it has stopped: --from has no effect")
