"""Tab completion in the shell: topics, filters, fields, profiles, versions.

On any problem, nothing is offered: a user who is typing must neither see errors nor wait.
"""

from __future__ import annotations

import ast
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from alertstream.avro.schemas import Schemas

VARIABLE = "_ALERTSTREAM_COMPLETE"
"""Environment variable by which the shell's script requests completion."""

Complete = Callable[[typer.Context, str], Iterable[str]]


def complete(command: Any) -> None:
    """Answer the shell's question, which is in the environment."""
    sys.stderr = io.StringIO()
    with suppress(Exception):
        if "COMP_WORDS" in os.environ:
            join_words_of_bash(os.environ)
        command.main([], "alertstream", complete_var=VARIABLE)


def join_words_of_bash(environment: MutableMapping[str, str]) -> None:
    """Undo that bash breaks words at ``:`` and ``=``, as in ``localhost:9092``.

    :raises KeyError, ValueError: the words, or the number of the current one, are missing.
    """
    broken = environment["COMP_WORDS"].split("\n")[: int(environment["COMP_CWORD"]) + 1]
    words: list[str] = []
    for word in broken:
        if word == "=":
            words.append("")
        elif words and (word == ":" or words[-1].endswith(":") or not words[-1]):
            words[-1] += word
        else:
            words.append(word)
    environment["COMP_WORDS"] = "\n".join(words)
    environment["COMP_CWORD"] = str(len(words) - 1)


def quietly(complete: Complete) -> Callable[[typer.Context, str], list[str]]:
    """Return a completion that offers nothing if ``complete`` fails."""

    @wraps(complete)
    def offered(ctx: typer.Context, incomplete: str) -> list[str]:
        with suppress(Exception):
            # A shell might run anything else as a command.
            safe = re.compile(re.escape(incomplete) + r"[\w.-]*").fullmatch
            return [*filter(safe, complete(ctx, incomplete))]
        return []

    # typer looks for these types, and does not find those of the function that is wrapped.
    offered.__annotations__ = {"ctx": typer.Context, "incomplete": str, "return": list[str]}
    return offered


@quietly
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

    :raises OSError, SyntaxError, ValueError: the file cannot be read as Python.
    """
    found = []
    for each in ast.parse(path.read_bytes()).body:
        if isinstance(each, ast.ClassDef) and each.bases:
            bases = {ast.unparse(base).rpartition(".")[2] for base in each.bases}
            has_passes = any(getattr(part, "name", "") == "passes" for part in each.body)
            if has_passes or "AlertFilter" not in bases:
                found.append(each.name)
    return found


@quietly
def complete_fields(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer names of fields after the last comma."""
    before, comma, name = incomplete.rpartition(",")
    taken = {each.strip() for each in before.split(",")}
    return (f"{before}{comma}{each}" for each in _fields(ctx, name) if each not in taken)


@quietly
def complete_where(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer names of fields, and functions of the sky, for the last word of an expression."""
    from alertstream import sky

    name = re.search(r"[A-Za-z_][\w.]*$|$", incomplete)
    begun = name[0] if name else ""
    functions = [f"{each}(" for each in sky.FUNCTIONS if each.startswith(begun)]
    found = [*_fields(ctx, begun), *functions]
    return (f"{incomplete.removesuffix(begun)}{each}" for each in found)


def _fields(ctx: typer.Context, begun: str) -> list[str]:
    """Return quantities and fields of all schemas that are known, down to the level of ``begun``.

    A record is also offered with a dot, so that the shell leaves its name open.
    """
    from alertstream.alert.fields import dotted_paths
    from alertstream.alert.surveys import QUANTITIES

    found = sorted(QUANTITIES)
    schemas = _schemas(ctx)
    for schema_id in reversed(schemas.ids()):
        with suppress(Exception):
            found += dotted_paths(schemas.by_id(schema_id))
    level = begun.count(".") + 1
    shown = (re.split(r"(?<=\.)", path)[:level] for path in found if path.startswith(begun))
    return list(dict.fromkeys(map("".join, shown)))


def _schemas(ctx: typer.Context) -> Schemas:
    from alertstream.avro.schemas import Schemas

    return Schemas([Path(each) for each in ctx.params.get("schemas") or ()])


@quietly
def complete_versions(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer the versions of LSST's schemas, and the ids of all others."""
    from alertstream.avro.schemas import version_id

    schemas = _schemas(ctx)
    for schema_id in reversed(schemas.ids()):
        with suppress(Exception):
            is_version = version_id(schemas.by_id(schema_id)["name"]) == schema_id
            yield f"{schema_id // 100}.{schema_id % 100}" if is_version else str(schema_id)
