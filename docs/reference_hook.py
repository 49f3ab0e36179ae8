"""Puts the help of every command where ``reference.md`` says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PLACE = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page with the help of all commands in it, if it has the place for that."""
    return markdown.replace(PLACE, _commands()) if PLACE in markdown else markdown


def _commands() -> str:
    from typer.main import get_command

    from alertstream.cli import app

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
