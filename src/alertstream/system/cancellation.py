"""Waiting for something that a stop may come before, and that may never end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

SHUTDOWN_TIMEOUT = 10.0
"""The shutdown grace period, in seconds: what is under way may finish within it."""
LOST_TIMEOUT = 2.0
"""The same while there is no connection."""


async def unless(
    stop: asyncio.Event, work: Awaitable[T], grace: float | Callable[[], float] = SHUTDOWN_TIMEOUT
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


async def stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for ``stop``, for so long at most; return whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(seconds, 0.0)):
            await stop.wait()
    return stop.is_set()


async def in_thread(work: Callable[[], T]) -> T:
    """Return what ``work`` gives, by a thread that does not keep the process from ending."""
    done: Future[T] = Future()
    # From here on it cannot be cancelled, which the thread would not notice.
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(done)
