"""Reports that the connection to Kafka is lost, and that it is restored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from alertstream.errors import Notice

LOST_AFTER = 2.0
"""Seconds without any connection to a broker after which the user is told."""
LOOK_INTERVAL = 0.2
LOST = "no connection to Kafka: reconnecting…"
RESTORED = "reconnected to Kafka"


@asynccontextmanager
async def connection_reports(
    is_connected: Callable[[], bool],
    notice: Notice,
    connected: Callable[[bool], None] = lambda connected: None,
) -> AsyncIterator[None]:
    """Report for as long as the context lasts.

    :param notice: called with a line for the user.
    :param connected: called with False when the connection is lost, with True when it is restored.
    """
    watching = asyncio.create_task(_watch(is_connected, notice, connected))
    try:
        yield
    finally:
        watching.cancel()


async def _watch(
    is_connected: Callable[[], bool], notice: Notice, connected: Callable[[bool], None]
) -> None:
    last_connected, lost = time.monotonic(), False
    while True:
        await asyncio.sleep(LOOK_INTERVAL)
        now = time.monotonic()
        if is_connected():
            last_connected = now
        if lost != (now - last_connected > LOST_AFTER):
            lost = not lost
            connected(not lost)
            notice(LOST if lost else RESTORED)
