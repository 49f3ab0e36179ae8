"""Waiting that a stop interrupts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

SHUTDOWN_TIMEOUT = 10.0
"""The shutdown grace period, in seconds, in which work in progress may finish."""
LOST_TIMEOUT = 2.0
"""The same while there is no connection."""


class Interrupted(Exception):
    """The user did not wait for the end: nothing is to be reported as done."""


async def unless_stopped(
    stop: asyncio.Event, work: Awaitable[T], grace: float | Callable[[], float] = SHUTDOWN_TIMEOUT
) -> T:
    """Return the result of ``work``, which has ``grace`` seconds more once ``stop`` is set.

    :raises TimeoutError: it did not finish in time, and was cancelled.
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
    """Wait for ``stop`` at most that long; return whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(seconds, 0.0)):
            await stop.wait()
    return stop.is_set()


async def in_thread(work: Callable[[], T]) -> T:
    """Return the result of ``work``, run in a thread that cannot keep the process from ending."""
    return await asyncio.wrap_future(in_background(work))


def in_background(work: Callable[[], T]) -> Future[T]:
    """Start ``work`` in a thread that cannot keep the process from ending."""
    done: Future[T] = Future()
    # From here on it cannot be cancelled, which the thread would not notice.
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done
