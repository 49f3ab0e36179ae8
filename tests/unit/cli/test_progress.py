"""Lines that are written while a progress bar is on the terminal."""

from __future__ import annotations

import asyncio
import sys
from io import StringIO

import pytest
from rich.console import Console
from rich.progress import Progress

from alertstream.cli.terminal.output import write_lines
from alertstream.cli.terminal.progress import Rate


def test_lines_are_written_above_a_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = StringIO()
    console = Console(file=terminal, force_terminal=True, width=80)
    monkeypatch.setattr(sys, "stdout", terminal)
    with Progress("reading", Rate(), console=console, redirect_stdout=True) as bars:
        task = bars.add_task("", total=None)
        bars.update(task, completed=10)
        asyncio.run(write_lines(["one \033[2J line", "another"], asyncio.Event()))
    assert "another\n" in terminal.getvalue()
    assert "one \033[2J" not in terminal.getvalue()
