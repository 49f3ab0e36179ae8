"""Fills in what pages generate: the options of the commands, and the tables of what is needed.

A page says where: ``<!-- options: alertstream send -->``, or the name of a table of
``bench/capacity.py``.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OPTIONS = re.compile(r"<!-- options: alertstream ?([a-z]*) -->")
CAPACITY = re.compile(r"<!-- (plan|costs|check) -->")
COMMON_PANEL = "Options"
"""Where options are that belong to no panel of the help."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page with everything that it has a place for."""
    markdown = OPTIONS.sub(lambda found: "\n".join(_command(found[1])), markdown)
    if CAPACITY.search(markdown):
        tables = _capacity()
        markdown = CAPACITY.sub(lambda found: tables[found[1]], markdown)
    return markdown


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

    command = get_command(app)
    path = "alertstream"
    if name:
        command, path = command.commands[name], f"{path} {name}"
    below = getattr(command, "commands", {}) if name else {}
    if not below:
        yield from _options(command, path, usage=bool(name))
    for each, below_it in below.items():
        yield f"## {each}\n\n{_first_line(below_it.help)}\n"
        yield from _options(below_it, f"{path} {each}", usage=True)


def _first_line(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


def _options(command: Any, path: str, *, usage: bool) -> Iterator[str]:
    """Yield a command's usage, and a table for each panel of its help."""
    context = command.make_context(path, ["?"] * 9, resilient_parsing=True)
    if usage:
        yield f"```text\n{path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    panels: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None:
            continue
        default = "Arguments" if parameter.param_type_name == "argument" else COMMON_PANEL
        panel = getattr(parameter, "rich_help_panel", None) or default
        panels.setdefault(panel, []).append(_row(*record))
    for panel, rows in panels.items():
        yield f"| {panel} | |\n| --- | --- |\n" + "\n".join(rows) + "\n"


def _row(names: str, text: str) -> str:
    """Return a line of a table; defaults and limits, which end the help, stand out."""
    text = re.sub(r"\s*\[([^\]]*)\]$", lambda found: f" *{found[1]}*", text)
    cells = (f"`{names}`", text.replace("<", "&lt;"))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
