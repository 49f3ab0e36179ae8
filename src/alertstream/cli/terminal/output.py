"""What goes to standard output, what to standard error, and the exit status."""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from alertstream.errors import AlertStreamError, DataError

if TYPE_CHECKING:
    import asyncio

DONE, FAILED, UNDECODABLE, INTERRUPTED = 0, 1, 3, 130
"""Exit statuses; 2 is wrong usage. Other errors bring their own."""

NOTICED_AFTER = 1.0
"""Seconds of silence after which people want to know what is waited for."""
LEAST_WIDTH = 40
"""Columns of a terminal that does not say how many it has."""

_IN_ASCII = {
    **dict(zip("▁▂▃▄▅▆▇█▀░▒▓━─│╸╺", "_.-:=+*##.:%--|--", strict=True)),
    **{"±": "+-", "°": " deg", "µ": "u", "·": "-", "–": "-", "→": "->", "↓": "v", "…": "~"},
    "\N{REPLACEMENT CHARACTER}": "?",
}
"""What stands for a character where the terminal does not have it."""


class ReaderGone(Exception):
    """Whoever reads the output has had enough, as ``head`` does."""


class _Quiet:
    """Whether notices are wanted: one answer for the process, as there is one standard error."""

    asked = False


def set_quiet(quiet: bool) -> None:
    """Leave out notices and bars from now on; errors are still told."""
    _Quiet.asked = quiet


def is_quiet() -> bool:
    """Return whether notices and bars are left out."""
    return _Quiet.asked


class _Waiting:
    """A line on the terminal that says what is waited for, until something else is written."""

    current: _Waiting | None = None

    def __init__(self, text: str) -> None:
        self._text = text
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._shown = False
        threading.Thread(target=self._show, daemon=True).start()

    def _show(self) -> None:
        # The terminal may go meanwhile, and nobody is left to be told.
        with suppress(OSError, ValueError):
            while not self._ended.wait(NOTICED_AFTER):
                with self._writing:
                    if not self._ended.is_set():
                        self._shown = True
                        _over_line(f"{self._text} … {time.monotonic() - self._began:.0f} s")

    def end(self) -> None:
        with self._writing:
            self._ended.set()
            if self._shown:
                _over_line("")
            self._shown = False


def _over_line(text: str) -> None:
    """Write over the terminal's line, as much as it has room for."""
    width = os.get_terminal_size(sys.stderr.fileno()).columns or LEAST_WIDTH
    print(f"\r{text[: width - 1]}\x1b[K", end="", file=sys.stderr, flush=True)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Say what is waited for, as long as nothing else is written; on a terminal only."""
    wait_on(text)
    try:
        yield
    finally:
        end_waiting()


def wait_on(text: str) -> None:
    """Say what is waited for from now on."""
    end_waiting()
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    if sys.stderr.isatty() and not (dumb or is_quiet()):
        _Waiting.current = _Waiting(text)


def end_waiting() -> None:
    """Make room for what is to be written."""
    if _Waiting.current is not None:
        _Waiting.current.end()
        _Waiting.current = None


def fit_encoding() -> None:
    """Let all output fit what the terminal can show: ASCII, where it does not know better."""
    codecs.register_error("alertstream", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="alertstream")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    there = error.object[error.start : error.end]
    shown = (
        _IN_ASCII.get(each) or each.encode("ascii", "backslashreplace").decode() for each in there
    )
    return "".join(shown), error.end


def write_line(line: str) -> None:
    """Write a line to standard output.

    :raises ReaderGone: whoever reads it is gone.
    """
    end_waiting()
    try:
        print(line, flush=True)
    except BrokenPipeError as error:
        raise ReaderGone from error


async def write_lines(lines: Iterable[str], stop: asyncio.Event) -> None:
    """Write lines; whoever reads them may take long, without keeping anything else waiting.

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
        raise DataError("the output is not taken", todo="see what reads it") from None


async def _in_thread(work: Callable[[], None]) -> None:
    """Return when ``work`` is done, by a thread that does not keep the process from ending."""
    import asyncio

    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        result = None
        try:
            work()
        except Exception as error:
            result = error
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, result)

    threading.Thread(target=run, daemon=True).start()
    await done


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
