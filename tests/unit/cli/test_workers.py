"""Processes that share the work: how the end of one is taken."""

from __future__ import annotations

import asyncio
import signal

import pytest

from alertstream.cli.workers import ended_well


@pytest.mark.parametrize(
    ("status", "stopped", "well"),
    [
        (0, False, True),
        (0, True, True),
        (130, True, True),
        (-signal.SIGTERM, True, True),
        (-signal.SIGTERM, False, False),
        (130, False, False),
        (1, True, False),
        (-signal.SIGKILL, True, False),
    ],
)
def test_end_of_a_worker(status: int, stopped: bool, well: bool) -> None:
    stop = asyncio.Event()
    if stopped:
        stop.set()
    assert ended_well(status, stop) is well
