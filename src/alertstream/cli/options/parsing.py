"""Our command line beyond typer: options from variables and files, and help in groups.

An option's value is taken from the command line, else from the environment
(``ALERTSTREAM_SEND_INTERVAL`` for one command before ``ALERTSTREAM_INTERVAL`` for all), else from
the configuration file::

    username = "ada"                    # for every command that has this option
    password_file = "/home/ada/.kafka"
    [send]
    interval = 37
    [profiles.rubin]                    # with --profile rubin; has BROKER, too
    broker = "HOST:PORT"
    [services]                          # notify --to phone
    phone = "ntfys://ntfy.sh/TOPIC"
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from alertstream.errors import AlertStreamError, UsageError, notice

Settings = dict[str, Any]

ROOT_OPTIONS = ("--config", "--profile", "--broker")
"""Options of the program itself that take a value; they may stand after the command, too."""
EMPTY_MEANS_NONE = "--group-prefix"
"""The option whose value may be empty: a profile may have one that is not."""
GROUPS = (
    *("Arguments", "Options", "Visits", "Filters", "Rights", "Without Kafka", "What to read"),
    *("What to show", "Whom to tell", "Messages", "Files to write", "Topic", "Connection"),
    *("Schemas", "Processes", "Output", "Watching", "General"),
)
"""The headings in a command's help (typer's ``rich_help_panel``), in their order."""


class Root(TyperGroup):
    """The program: reads the configuration file, so that commands have their defaults."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the program's own options, wherever they stand, and then the file.

        :raises UsageError: a value is empty, as that of a variable of the shell that is not set.
        """
        if not ctx.resilient_parsing:
            _require_values(args)
        own, rest = root_options_apart(args)
        # While such a value is being typed, nothing else is completed.
        typing_value = ctx.resilient_parsing and own[-1:] and own[-1] in ROOT_OPTIONS
        left = super().parse_args(ctx, own if typing_value else own + rest)
        given = [ctx.params[name] for name in ("config", "profile", "broker")]
        try:
            ctx.default_map = default_map(self.commands, *given)
        except AlertStreamError:
            # Completion ignores errors in the file.
            if not ctx.resilient_parsing:
                raise
        return left


class Command(TyperCommand):
    """A command whose options can be set in the environment, and whose help is in groups."""

    def __init__(self, name: str, *, params: Sequence[Any], **more: Any) -> None:
        for each in params:
            if isinstance(each, TyperOption):
                shared = [each.name] if each.allow_from_autoenv else []
                variables = [f"{name}_{each.name}", *shared]
                each.envvar = [f"ALERTSTREAM_{one.rstrip('_')}".upper() for one in variables]
                each.show_envvar = False
        super().__init__(name, params=[*params], **more)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments and options; BROKER is left out where a profile has it."""
        broker = ctx.lookup_default("broker")
        return super().parse_args(ctx, [broker, *args] if broker else args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, each group under its heading."""
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in GROUPS}
        for each in self.get_params(ctx):
            record = each.get_help_record(ctx)
            if record and isinstance(each, TyperArgument):
                groups["Arguments"].append((each.metavar or each.name, record[1]))
            elif record:
                default = "General" if each.name == "help" else "Options"
                groups[getattr(each, "rich_help_panel", None) or default].append(record)
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def root_options_apart(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options of the program itself, such as ``--debug``, and the rest."""
    own: list[str] = []
    rest: list[str] = []
    for before, argument in pairwise(["", *arguments]):
        name = argument.partition("=")[0]
        is_own = before in ROOT_OPTIONS or name in ROOT_OPTIONS or argument == "--debug"
        (own if is_own else rest).append(argument)
    return own, rest


def _require_values(arguments: Sequence[str]) -> None:
    for before, argument in pairwise(["", *arguments]):
        empty = re.fullmatch(r"(?:(--[\w-]+)=)?", argument)
        option = empty and (empty[1] or before)
        if option is not None and option != EMPTY_MEANS_NONE:
            what = f"the value of {option}" if option.startswith("-") else "an argument"
            raise UsageError(f"{what} is empty", todo="give one, or leave it out")


def said_elsewhere(context: Any, text: str) -> str | None:
    """Return the variable or file that sets an option that a text names; None if none does."""
    for each in context.command.params:
        names = "|".join(re.escape(name) for name in each.opts if name.startswith("--"))
        source = context.get_parameter_source(each.name)
        if source is None or not names or not re.search(f"({names})(?![\\w-])", text):
            continue
        if source.name == "DEFAULT_MAP":
            return str(config_file(context.find_root().params.get("config")))
        if source.name == "ENVIRONMENT":
            return next((name for name in each.envvar if name in os.environ), None)
    return None


def usage_error(error: typer.TyperException) -> UsageError:
    """Return typer's error as ours, with the file or variable that sets what is wrong, if any."""
    message = error.format_message().replace("Value error, ", "")
    message = re.sub(r" for <class '.*'>", "", message)
    context = getattr(error, "ctx", None)
    where = said_elsewhere(context, message) if context else None
    command = context.command_path if context else "alertstream"
    return UsageError(message, where=where, todo=f"see {command} --help")


def default_map(
    commands: Mapping[str, Any], path: Path | None, profile: str | None, broker: str | None
) -> Settings:
    """Return what the configuration file sets for each command, as click's ``default_map``.

    A profile takes precedence over a command's table, and that over settings for all commands.
    Wherever ``password_file`` is an option, the file may have a ``password``, which is not an
    option, since it would show in the process list.

    :param commands: typer's commands, and groups of these, by name.
    :param path: None is ``config.toml`` in the user's configuration folder, if it is there.
    :param profile: the chosen table of ``profiles``.
    :param broker: overrides the profile's.
    :raises UsageError: the file cannot be read, sets what no command has, or has no such profile.
    """
    file = config_file(path)
    read = _read(file, needed=path is not None or profile is not None)
    special = _profile(read.pop("profiles", {}), profile, file)
    secret = bool(_services(read.pop("services", {}), file)) or "to" in read.get("notify", ())
    configured = special.pop("broker", None)
    if not isinstance(configured, str | None):
        raise UsageError("broker is not a string", where=str(file), todo='write "HOST:PORT"')
    tables = {name: _underscored(each) for name, each in read.items() if isinstance(each, dict)}
    general = {name: each for name, each in read.items() if name not in tables}
    if secret or any("password" in each for each in (general, special, *tables.values())):
        warn_if_open(file)
    known = {name: _options_below(command) for name, command in commands.items()}
    shared = set().union(*map(_shared, known.values()))
    for settings in (general, special):
        _require_known(settings, shared, file)
    _require_known(tables, known, file)
    for name, table in tables.items():
        _require_known(table, known[name], file)
    try:
        return {
            name: _defaults(command, general, tables.get(name, {}), special, broker or configured)
            for name, command in commands.items()
        }
    except UsageError as error:
        raise UsageError(error.what, where=str(file), todo=error.todo) from error


def _read(file: Path, *, needed: bool) -> Settings:
    try:
        return _underscored(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        if not needed:
            return {}
        what = f"the file cannot be read: {error.strerror}"
        raise UsageError(what, where=str(file)) from error
    except ValueError as error:
        raise UsageError(f"not valid TOML: {error}", where=str(file)) from error


def config_file(path: Path | None) -> Path:
    """Return the configuration file: ``path``, or the one in the user's folder."""
    return path or Path(typer.get_app_dir("alertstream")) / "config.toml"


def profile(path: Path | None, name: str) -> Settings:
    """Return a profile of the configuration file.

    :raises UsageError: there is none of this name, or the file cannot be read.
    """
    file = config_file(path)
    return _profile(_read(file, needed=True).get("profiles", {}), name, file)


def _profile(profiles: Any, name: str | None, file: Path) -> Settings:
    if name is None:
        return {}
    if not isinstance(profiles, dict) or not isinstance(profiles.get(name), dict):
        todo = f"write it as [profiles.{name}]; there: {', '.join(profiles) or 'none'}"
        raise UsageError(f"there is no profile {name}", where=str(file), todo=todo)
    return _underscored(profiles[name])


def services(path: Path | None) -> dict[str, list[str]]:
    """Return the URLs of each service in the configuration file, which may not be there.

    :raises UsageError: the file cannot be read, or has something else in their place.
    """
    file = config_file(path)
    return _services(_read(file, needed=path is not None).get("services", {}), file)


def _services(given: Any, file: Path) -> dict[str, list[str]]:
    tables = given if isinstance(given, dict) else {"NAME": None}
    listed: dict[str, Any] = {
        name: [urls] if isinstance(urls, str) else urls for name, urls in tables.items()
    }
    for name, urls in listed.items():
        if not isinstance(urls, list) or not all(isinstance(each, str) for each in urls):
            # Its value is secret, and not shown.
            todo = f'write [services] and below it {name} = "URL", or a list of these'
            raise UsageError(f"{name} has no URL", where=str(file), todo=todo)
    return listed


def _underscored(settings: Mapping[str, Any]) -> Settings:
    return {key.replace("-", "_"): value for key, value in settings.items()}


def _options_below(command: Any) -> dict[str, TyperOption]:
    """Return the options of a command, or those of all commands below it, by name.

    A name that Python keeps for itself, as ``from``, ends in an underscore in our code only.
    """
    found: dict[str, TyperOption] = {}
    for below in getattr(command, "commands", {}).values():
        found |= _options_below(below)
    own = (each for each in command.params if isinstance(each, TyperOption))
    found |= {each.name.rstrip("_"): each for each in own}
    if "password_file" in found:
        found["password"] = found["password_file"]
    return found


def _shared(options: Mapping[str, TyperOption]) -> set[str]:
    """Return the names of options to which settings for all commands apply."""
    return {name for name, option in options.items() if option.allow_from_autoenv}


def _defaults(
    command: Any, general: Settings, own: Settings, special: Settings, broker: str | None
) -> Settings:
    if below := getattr(command, "commands", None):
        return {
            name: _defaults(each, general, own, special, broker) for name, each in below.items()
        }
    options = _options_below(command)
    shared = _shared(options)
    found: Settings = {}
    for settings, names in ((general, shared), (own, options), (special, shared)):
        for name in settings.keys() & names:
            value, option = settings[name], options[name]
            # The file may state one value where an option takes several.
            value = [value] if option.multiple and isinstance(value, str) else value
            if value in ("", [""]) and EMPTY_MEANS_NONE not in option.opts:
                raise UsageError(f"{name} is empty", todo="give a value, or remove it")
            if (isinstance(value, list) and not option.multiple) or isinstance(value, dict):
                raise UsageError(f"{name} takes one value", todo="write it without brackets")
            found[name if name == "password" else option.name] = value
    if broker and any(each.name == "broker" for each in command.params):
        found["broker"] = broker
    return found


def _require_known(given: Iterable[str], known: Collection[str], file: Path) -> None:
    for name in (each for each in given if each not in known):
        near = get_close_matches(name, known, n=1)
        todo = f"did you mean {near[0]}?" if near else "remove it"
        raise UsageError(f"there is no option {name}", where=str(file), todo=todo)


def warn_if_open(file: Path) -> None:
    """Warn the user if others may read a file that has a password in it."""
    if file.stat().st_mode & 0o044:
        notice(f"warning: others can read the secrets in it · {file} · chmod 600 {file}")
