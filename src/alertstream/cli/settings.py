"""The configuration file: options in TOML, for all commands, for one, or for a profile.

::

    username = "ada"                    # for every command that has this option
    password_file = "/home/ada/.kafka"
    [send]
    interval = 37
    [profiles.rubin]                    # with --profile rubin; has BROKER, too
    broker = "HOST:PORT"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from alertstream.cli.terminal.output import notice
from alertstream.errors import UsageError


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


def warn_if_open(file: Path) -> None:
    """Tell the user if others may read a file that has a password in it."""
    if file.stat().st_mode & 0o044:
        notice(f"warning: others can read the password · {file} · chmod 600 {file}")
