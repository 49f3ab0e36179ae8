"""What goes to standard output, what to standard error, and the exit status."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from alertstream.cli.terminal.waiting import Waiting
from alertstream.errors import AlertStreamError, DataError

if TYPE_CHECKING:
    import asyncio

DONE, FAILED, UNDECODABLE, INTERRUPTED = 0, 1, 3, 130
"""Exit statuses; 2 is wrong usage. Other errors bring their own."""


class ReaderGone(Exception):
    """Nobody reads the output any more, as where ``head`` has read enough."""


class _StandardError:
    """What the process has of standard error: whether notices are wanted, and what is shown."""

    quiet = False
    waiting: Waiting | None = None


def set_quiet(quiet: bool) -> None:
    """Leave out notices and bars from now on; errors are still shown."""
    _StandardError.quiet = quiet


def is_quiet() -> bool:
    """Return whether notices and bars are left out."""
    return _StandardError.quiet


def wait_on(text: str) -> None:
    """Say on a terminal what is waited for, until something else is written."""
    end_waiting()
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    if sys.stderr.isatty() and not (dumb or is_quiet()):
        _StandardError.waiting = Waiting(text)


def end_waiting() -> None:
    """Make room for what is to be written."""
    if _StandardError.waiting is not None:
        _StandardError.waiting.end()
        _StandardError.waiting = None


def write_line(line: str) -> None:
    """Write a line to standard output.

    :raises ReaderGone: its reader is gone.
    """
    end_waiting()
    try:
        print(line, flush=True)
    except BrokenPipeError as error:
        raise ReaderGone from error


async def write_lines(lines: Iterable[str], stop: asyncio.Event) -> None:
    """Write lines; a slow reader keeps nothing else waiting.

    :raises ReaderGone: their reader is gone.
    :raises DataError: nobody takes them within ``SHUTDOWN_TIMEOUT`` after the stop.
    """
    from alertstream.system.cancellation import unless

    end_waiting()
    text = "\n".join([*lines, ""]).encode(sys.stdout.encoding, errors=sys.stdout.errors or "strict")

    def write() -> None:
        # Not through Python's buffer: its lock would keep the process from ending.
        rest = memoryview(text)
        while rest:
            rest = rest[os.write(sys.stdout.fileno(), rest) :]

    try:
        await unless(stop, _in_thread(write))
    except BrokenPipeError as error:
        raise ReaderGone from error
    except TimeoutError:
        raise DataError("nobody reads the output", todo="see what it is piped to") from None


async def _in_thread(work: Callable[[], None]) -> None:
    """Return when ``work`` is done, by a thread that does not keep the process from ending."""
    import asyncio
    from concurrent.futures import Future

    done: Future[None] = Future()
    # From here on it cannot be cancelled, which the thread would not notice.
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            work()
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    await asyncio.wrap_future(done)


def as_json(value: dict[str, Any]) -> str:
    """Return an object as a line of strict JSON."""
    return json.dumps(value, allow_nan=False)


def notice(text: str) -> None:
    """Write a line to standard error, for people who want to know."""
    if not is_quiet():
        _to_people(text)


class NoticeHandler(logging.Handler):
    """Shows what the package logs as notices."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line."""
        notice(record.getMessage())


def write_error(error: AlertStreamError | str) -> None:
    """Write what went wrong to standard error."""
    _to_people(f"error: {error}")


def _to_people(text: str) -> None:
    end_waiting()
    print(text, file=sys.stderr, flush=True)
