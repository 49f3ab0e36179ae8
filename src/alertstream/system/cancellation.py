"""Waiting for something that a stop may come before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

SHUTDOWN_TIMEOUT = 10.0
"""The shutdown grace period, in seconds: what is under way may finish within it."""
LOST_TIMEOUT = 2.0
"""The same while there is no connection."""


async def unless(
    stop: asyncio.Event,
    work: Awaitable[T],
    grace: float | Callable[[], float] = SHUTDOWN_TIMEOUT,
) -> T:
    """Return what ``work`` gives; once ``stop`` is set, it has ``grace`` seconds more.

    :raises TimeoutError: it was not done by then, and is cancelled.
    """
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((task,), timeout=grace() if callable(grace) else grace)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        stopping.cancel()
        task.cancel()
