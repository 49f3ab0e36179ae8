"""Fills in what pages generate: the options of the commands, and the tables of what is needed.

A page says where: ``<!-- options: alertstream send -->``, ``<!-- rights -->``, or the name of a
table of ``bench/capacity.py``.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

OPTIONS = re.compile(r"<!-- options: alertstream ?([a-z]*) -->")
RIGHTS = "<!-- rights -->"
CAPACITY = re.compile(r"<!-- (plan|costs|check) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page with everything that it has a place for."""
    markdown = OPTIONS.sub(lambda found: "\n".join(_command(found[1])), markdown)
    if RIGHTS in markdown:
        markdown = markdown.replace(RIGHTS, "\n".join(_rights()))
    if CAPACITY.search(markdown):
        tables = _capacity()
        markdown = CAPACITY.sub(lambda found: tables[found[1]], markdown)
    return markdown


def _rights() -> Iterator[str]:
    """Yield a table of the rights that commands need."""
    from alertstream.local.rights import NEEDS

    yield "| commands | on which Kafka | operations | on | |\n| --- | --- | --- | --- | --- |"
    for each in NEEDS:
        commands = ", ".join(f"`{command}`" for command in each.commands.split())
        operations = ", ".join(operation.capitalize() for operation in each.operations)
        about = ", ".join(["optional"] * each.optional + [each.purpose] * bool(each.purpose))
        name = each.name.replace("CAPS", "GROUP-visit-caps").replace("AUTO", "USER-notify-*")
        resource = f"{each.kind.replace('-', ' ')} `{name}`"
        yield f"| {commands} | `{each.kafka}` | {operations} | {resource} | {about} |"


def _capacity() -> dict[str, str]:
    path = Path(__file__).parents[1] / "bench" / "capacity.py"
    spec = importlib.util.spec_from_file_location("capacity", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look for their module there.
    sys.modules["capacity"] = module
    spec.loader.exec_module(module)
    tables: dict[str, str] = module.tables()
    return tables


def _command(name: str) -> Iterator[str]:
    """Yield the usage and options of a command, or of the commands below it."""
    from typer.main import get_command

    from alertstream.cli.app import app

    root = get_command(app)
    context = root.make_context("alertstream", [], resilient_parsing=True)
    if not name:
        yield from _tables(root, context)
        return
    command = root.commands[name]
    below = getattr(command, "commands", {})
    if not below:
        yield from _usage_and_tables(command, name, context)
    for each, below_it in below.items():
        yield f"## {each}\n\n{_first_line(below_it.help)}\n"
        yield from _usage_and_tables(below_it, f"{name} {each}", context)


def _first_line(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


def _usage_and_tables(command: Any, name: str, parent: Any) -> Iterator[str]:
    context = command.make_context(name, ["?"], parent=parent, resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\nalertstream {name} {usage}\n```\n"
    yield from _tables(command, context)


def _tables(command: Any, context: Any) -> Iterator[str]:
    """Yield a table for each group of a command's help."""
    sections = _Sections()
    command.format_options(context, sections)
    for name, rows in sections.rows.items():
        if name != "Commands":
            lines = "\n".join(_row(*each) for each in rows)
            yield f"| {name} | |\n| --- | --- |\n{lines}\n"


class _Sections:
    """Takes the place of what formats a command's help, and keeps the rows of each section."""

    width = 100

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[str, str]]] = {}

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        self.rows[name] = []
        yield

    def write_dl(self, rows: Iterable[tuple[str, str]], **_: Any) -> None:
        self.rows[[*self.rows][-1]] += rows


def _row(names: str, text: str) -> str:
    """Return a line of a table; defaults and limits, which end the help, stand out."""
    names, text = (escape(each).replace("|", "&#124;") for each in (names, text))
    text = re.sub(r"\s*\[([^\]]*)\]$", lambda found: f" <em>{found[1]}</em>", text)
    return f"| <code>{names}</code> | {text} |"
