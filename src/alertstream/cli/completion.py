"""What a shell offers when Tab is pressed: topics, filters, fields, profiles, versions.

Whatever is wrong, nothing is offered: a person who types must not be shown errors, nor wait.
"""

from __future__ import annotations

import ast
import asyncio
import io
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from contextlib import suppress
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from alertstream.cli.option_groups import ROOT_OPTIONS, root_options_apart

if TYPE_CHECKING:
    from alertstream.avro.schemas import Schemas
    from alertstream.kafka.connection import Connection

VARIABLE = "_ALERTSTREAM_COMPLETE"
"""Environment variable with which the shell's script asks."""
PATIENCE = 0.7
"""Seconds in which Kafka must tell its topics."""
_BREAKS = ":="
"""Characters at which bash breaks words, though they are within one."""

Complete = Callable[[typer.Context, str], Iterable[str]]


def _quietly(complete: Complete) -> Callable[[typer.Context, str], list[str]]:
    """Return what offers what is offered by ``complete``, or nothing where that fails."""

    @wraps(complete)
    def offered(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            return [each for each in complete(ctx, incomplete) if each.startswith(incomplete)]
        except Exception:
            return []

    offered.__annotations__ = {"ctx": typer.Context, "incomplete": str, "return": list[str]}
    return offered


@_quietly
def complete_topics(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer the topics of the broker that the command line, or its profile, names."""
    from alertstream.kafka.admin import topics

    async def known() -> dict[str, int]:
        async with asyncio.timeout(PATIENCE):
            return await topics(_connection(ctx))

    given = ctx.params.get("topics") or ()
    hidden = () if incomplete.startswith("_") else ("_",)
    names = sorted(asyncio.run(known()))
    return (each for each in names if each not in given and not each.startswith(hidden))


def _connection(ctx: typer.Context) -> Connection:
    from inspect import signature

    from alertstream.cli import options

    names = signature(options.connection).parameters.keys() - {"context"}
    return options.connection(ctx, **{name: ctx.params[name] for name in names})


@_quietly
def complete_filters(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer the classes of ``--filters``, whose files are not run, and the templates."""
    from alertstream.filtering.filters import TEMPLATES

    own: list[str] = []
    for path in ctx.params.get("filters") or ():
        with suppress(OSError, SyntaxError, ValueError):
            own += filter_classes(Path(path))
    if own and not incomplete:
        return own
    return [*own, *(f"Filter{number:03}" for number in range(1, TEMPLATES + 1))]


def filter_classes(path: Path) -> list[str]:
    """Return the filters that a Python file seems to define: classes that have ``passes``.

    :raises OSError, SyntaxError, ValueError: it is none.
    """
    classes = {
        each.name: each
        for each in ast.parse(path.read_bytes()).body
        if isinstance(each, ast.ClassDef)
    }

    def passes(name: str, depth: int) -> bool:
        if name not in classes:
            return name != "AlertFilter"
        own = any(getattr(each, "name", "") == "passes" for each in classes[name].body)
        bases = [ast.unparse(each).rpartition(".")[2] for each in classes[name].bases]
        return bool(bases) and (own or (depth > 0 and any(passes(b, depth - 1) for b in bases)))

    return [name for name in classes if passes(name, len(classes))]


@_quietly
def complete_fields(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer names of fields, behind the last comma."""
    before, comma, name = incomplete.rpartition(",")
    taken = {each.strip() for each in before.split(",")}
    names = (each for each in _fields(ctx, name) if each not in taken)
    return (f"{before}{comma}{each}" for each in names)


@_quietly
def complete_where(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer names of fields where an expression has begun one."""
    name = re.search(r"[A-Za-z_][\w.]*$|$", incomplete)
    begun = name[0] if name else ""
    before = incomplete[: len(incomplete) - len(begun)]
    return (f"{before}{each}" for each in _fields(ctx, begun))


def _fields(ctx: typer.Context, begun: str) -> list[str]:
    """Return quantities and fields of all schemas that are known, down to the level of ``begun``.

    A record is there with a dot, too, so that a shell takes its name for unfinished.
    """
    from alertstream.alert.fields import dotted_paths
    from alertstream.alert.surveys import QUANTITIES

    level = begun.count(".")
    found = dict.fromkeys(sorted(QUANTITIES))
    schemas = _schemas(ctx)
    for schema_id in reversed(schemas.ids()):
        with suppress(Exception):
            found |= dict.fromkeys(dotted_paths(schemas.by_id(schema_id)))
    shown: dict[str, None] = {}
    for path in found:
        parts = path.split(".")
        if path.startswith(begun):
            shown[".".join(parts[: level + 1]) + ("." if len(parts) > level + 1 else "")] = None
    return list(shown)


def _schemas(ctx: typer.Context) -> Schemas:
    from alertstream.avro.schemas import Schemas

    return Schemas([Path(each) for each in ctx.params.get("schemas") or ()])


@_quietly
def complete_versions(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer the versions of LSST's schemas, and the ids of all others."""
    from alertstream.avro.schemas import full_name, version_id

    schemas = _schemas(ctx)
    for schema_id in reversed(schemas.ids()):
        with suppress(Exception):
            is_version = version_id(full_name(schemas.by_id(schema_id))) == schema_id
            yield f"{schema_id // 100}.{schema_id % 100}" if is_version else str(schema_id)


@_quietly
def complete_profiles(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer the profiles of the configuration file."""
    from alertstream.cli.settings import config_file

    settings = tomllib.loads(config_file(ctx.params.get("config")).read_text(encoding="utf-8"))
    return list(settings.get("profiles", {}))


def complete(
    app: typer.Typer, configure: Callable[[Any, Path | None, str | None], dict[str, Any]]
) -> None:
    """Answer the shell's question, which is in the environment, and exit.

    :param configure: gives a command what the configuration file and a profile of it set.
    """
    sys.stderr = io.StringIO()
    command = typer.main.get_command(app)
    defaults: dict[str, Any] = {}
    with suppress(Exception):
        words = _take_words(os.environ)
        config, profile = (_given(words, name) for name in ("config", "profile"))
        defaults = configure(command, Path(config) if config else None, profile)
    try:
        command.main([], "alertstream", complete_var=VARIABLE, default_map=defaults)
    except Exception:
        sys.exit(0)


def _given(words: Sequence[str], name: str) -> str | None:
    """Return what an option of the root is given, on the command line or in the environment."""
    for word, after in pairwise([*words, ""]):
        if word == f"--{name}":
            return after
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
    return os.environ.get(f"ALERTSTREAM_{name.upper()}")


def _take_words(environment: MutableMapping[str, str]) -> list[str]:
    """Return the words before the one that is completed, and state all as typer expects them.

    :raises LookupError, ValueError: there are none.
    """
    in_bash = "COMP_WORDS" in environment
    line = environment["COMP_WORDS" if in_bash else "_TYPER_COMPLETE_ARGS"]
    words = _split(line)
    if in_bash:
        place = int(environment["COMP_CWORD"])
        words = [*words, ""][: place + 1]
    elif line.endswith(" "):
        words.append("")
    program, *before, incomplete = _glued(words)
    first, rest = root_options_apart(before)
    value_of_root = bool(before) and before[-1] in ROOT_OPTIONS
    if value_of_root or incomplete.startswith(tuple(f"{each}=" for each in ROOT_OPTIONS)):
        rest = []
    before = first + rest
    stated = shlex.join([program, *before, incomplete])
    environment["COMP_WORDS"] = environment["_TYPER_COMPLETE_ARGS"] = stated
    environment["COMP_CWORD"] = str(len(before) + 1)
    return before


def _split(line: str) -> list[str]:
    """Return a line's words; the last one may have a quote that is still open."""
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:
        words.append(lexer.token)
    return words


def _glued(words: Iterable[str]) -> list[str]:
    """Return words as they were typed: bash takes ``host:9092`` for three."""
    glued: list[str] = []
    is_open = False
    for word in words:
        breaks = bool(word) and not word.strip(_BREAKS)
        if glued and (breaks or is_open) and len(glued) > 1:
            glued[-1] += word
        else:
            glued.append(word)
        is_open = breaks
    return glued
