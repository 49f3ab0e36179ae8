"""``alertstream demo``: everything at once, from nothing to a table that adds up."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from tests.support.commands import finish, run, start


def left_over(folder: Path) -> set[str]:
    """What a demo leaves in its temporary folder, and the processes that have it as such."""
    processes = {
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/environ")
        if f"TMPDIR={folder}\0".encode() in _content(path)
    }
    return {path.name for path in folder.iterdir()} | processes


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_figures_add_up_and_nothing_is_left(tmp_path: Path) -> None:
    begin = time.monotonic()
    how = {"COLUMNS": "100", "TMPDIR": str(tmp_path)}
    shown = run("demo", "--visits", 1, "--alerts", 60, limit=60, **how)
    assert time.monotonic() - begin < 60
    assert shown.status == 0, shown.err
    numbers = {
        row[0]: [int(number) for number in re.findall(r"\d+", " ".join(row[1:]))]
        for row in (re.findall(r"[\w-]+", line) for line in shown.lines)
        if row
    }
    assert numbers["alerts-simulated"] == [60, 60]
    for name in ("Filter001", "Filter002", "Filter003"):
        passed, of, _, seen, printed = numbers[name]
        assert of == 60
        assert 0 < passed == seen == printed
    assert shown.err.count("60 of 60 alerts acknowledged") == 1
    assert left_over(tmp_path) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alerts", "last", "status", "table"),
    [(20, "alerts acknowledged", 0, True), (1000, "simulating", 130, False)],
)
def test_ctrl_c_ends_it_and_leaves_nothing(
    tmp_path: Path, alerts: int, last: str, status: int, table: bool
) -> None:
    process = start("demo", "--visits", 50, "--alerts", alerts, TMPDIR=str(tmp_path))
    assert process.stderr is not None
    while last not in process.stderr.readline():
        pass
    os.kill(process.pid, signal.SIGINT)
    ended = finish(process, 40)
    assert ended.status == status
    assert ("what became of the alerts" in ended.out) is table
    assert bool(ended.out) is table
    assert left_over(tmp_path) == set()
