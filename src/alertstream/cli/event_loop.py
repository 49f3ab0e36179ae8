"""Runs a command's coroutine: uvloop, and SIGINT and SIGTERM as one event to stop on."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from alertstream.system.cancellation import Interrupted, unless_stopped

T = TypeVar("T")

SAME_SIGNAL_TIMEOUT = 1.0
"""Seconds in which further signals count as the same one: a shell and its job may both send it."""
MALLOPT = {-1: 64 * 1024 * 1024, -3: 32 * 1024 * 1024}
"""glibc's ``M_TRIM_THRESHOLD`` and ``M_MMAP_THRESHOLD`` (malloc.h), in bytes."""


def run(main: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """Run ``main`` to its end; it is given the event that SIGINT and SIGTERM set.

    :raises Interrupted: another signal, ``SAME_SIGNAL_TIMEOUT`` later, has ended it.
    """
    _keep_freed_memory()
    new_loop = asyncio.new_event_loop
    with suppress(ImportError):
        # It is not there on all systems.
        from uvloop import new_event_loop as new_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_main(main))


def _keep_freed_memory() -> None:
    """Have glibc keep the memory of finished batches for the next ones.

    By default it gives each megabyte back to the system, which must clear every page of the next:
    up to a third of a filter's processor time.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for parameter, size in MALLOPT.items():
            libc.mallopt(parameter, size)


async def _main(main: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(main(stop))
    first = 0.0

    def on_signal() -> None:
        nonlocal first
        if not stop.is_set():
            first = loop.time()
            stop.set()
        elif loop.time() - first > SAME_SIGNAL_TIMEOUT:
            task.cancel()

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, on_signal)
    try:
        return await task
    except asyncio.CancelledError:
        raise Interrupted from None


async def until_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    """Do ``work`` until it ends, or ``stop`` is set: then it is cancelled, and cleans up."""
    task = asyncio.create_task(work)
    with suppress(TimeoutError):
        await unless_stopped(stop, task, grace=0)
    with suppress(asyncio.CancelledError):
        await task


async def input_lines() -> AsyncIterator[str]:
    """Yield the lines of standard input, which is a pipe, as they come."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield line.decode()


def stop_with_input(stop: asyncio.Event) -> None:
    """Have ``stop`` set when standard input ends: the process that started this one is gone."""
    loop = asyncio.get_running_loop()

    def on_end() -> None:
        loop.remove_reader(sys.stdin)
        stop.set()

    # Nothing is ever written to it.
    loop.add_reader(sys.stdin, on_end)
