"""Puts in pages what is made anew: the help of all commands, and the tables of what is needed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PLACE = "<!-- commands -->"
TABLES = ("plan", "costs", "check")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page with all that it has places for."""
    if PLACE in markdown:
        markdown = markdown.replace(PLACE, _commands())
    if any(f"<!-- {name} -->" in markdown for name in TABLES):
        for name, table in _capacity().items():
            markdown = markdown.replace(f"<!-- {name} -->", table)
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


def _commands() -> str:
    from typer.main import get_command

    from alertstream.cli.app import app

    parts = [_section("alertstream")]
    for name, command in get_command(app).commands.items():
        parts.append(_section(f"alertstream {name}"))
        for below in getattr(command, "commands", ()):
            parts.append(_section(f"alertstream {name} {below}"))
    return "\n".join(parts)


def _section(command: str) -> str:
    arguments = [*command.split()[1:], "--help"]
    shown = subprocess.run(
        [Path(sys.executable).with_name("alertstream"), *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "90", "NO_COLOR": "1"},
    )
    return f"## {command}\n\n```text\n{shown.stdout.strip()}\n```\n"
