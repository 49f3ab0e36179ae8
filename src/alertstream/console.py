"""What goes to standard output, what to standard error, and the exit status."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from alertstream.errors import AlertStreamError, DataError
from alertstream.runtime import in_thread

if TYPE_CHECKING:
    from alertstream.connection import Connection
    from alertstream.options import Reading
    from alertstream.stream import Subscription

DONE, FAILED, UNDECODABLE, INTERRUPTED = 0, 1, 3, 130
"""Exit statuses; 2 is wrong usage. Other errors bring their own."""


class ReaderGone(Exception):
    """Whoever reads the output has had enough, as ``head`` does."""


def write_line(line: str) -> None:
    """Write a line to standard output.

    :raises ReaderGone: whoever reads it is gone.
    """
    try:
        print(line, flush=True)
    except BrokenPipeError as error:
        raise ReaderGone from error


async def write_lines(lines: Iterable[str], stop: asyncio.Event) -> None:
    """Write lines; whoever reads them may take long, without keeping anything else waiting.

    :raises DataError: nobody takes them within ``STOP_LIMIT`` after the stop.
    """
    from alertstream.stopping import unless

    text = "\n".join([*lines, ""]).encode(sys.stdout.encoding, errors="backslashreplace")

    def write() -> None:
        # Not through Python's buffer: its lock would keep the process from ending.
        rest = memoryview(text)
        while rest:
            rest = rest[os.write(sys.stdout.fileno(), rest) :]

    try:
        await unless(stop, in_thread(write))
    except BrokenPipeError as error:
        raise ReaderGone from error
    except TimeoutError:
        raise DataError("the output is not taken", todo="see what reads it") from None


def as_json(value: dict[str, Any]) -> str:
    """Return an object as a line of strict JSON."""
    return json.dumps(value, allow_nan=False)


def notice(text: str) -> None:
    """Write a line to standard error, for people."""
    print(text, file=sys.stderr, flush=True)


async def notice_start(
    connection: Connection, subscription: Subscription, reading: Reading
) -> None:
    """Say so, if ``--from`` has no effect because the group goes on where it was."""
    from alertstream.topics import has_committed

    group = subscription.group
    if not (reading.start_is_given and group):
        return
    if await has_committed(connection, group, subscription.topics):
        notice(f"the group {group} goes on where it has stopped: --from has no effect")


def write_error(error: AlertStreamError | str) -> None:
    """Write what went wrong to standard error."""
    notice(f"error: {error}")
