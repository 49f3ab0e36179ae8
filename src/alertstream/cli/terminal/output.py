"""What goes to standard output, what to standard error, and the exit status.

A notice is a warning of the package's logger: with ``--quiet``, that is for errors only.
"""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from alertstream.errors import LOG as LOG
from alertstream.errors import AlertStreamError, DataError, Event, printable
from alertstream.errors import notice as notice

if TYPE_CHECKING:
    import asyncio

DONE, FAILED, UNDECODABLE, INTERRUPTED = 0, 1, 3, 130
"""Exit statuses; 2 is wrong usage. Other errors bring their own."""
SHOWN_AFTER = 1.0
"""Seconds of silence after which a terminal shows what the program waits for."""
DEFAULT_WIDTH = 40
"""Columns of a terminal that does not say how many it has."""
_IN_ASCII = str.maketrans(
    dict(zip("▁▂▃▄▅▆▇█▀░▒▓━─│╸╺", "_.-:=+*##.:%--|--", strict=True))
    | {"±": "+-", "°": " deg", "µ": "u", "·": "-", "–": "-", "→": "->", "↓": "v", "…": "~"}
    | {"\N{REPLACEMENT CHARACTER}": "?"}
)
"""Substitutes for characters that the terminal lacks."""


class ReaderGone(Exception):
    """Nobody reads the output any more, as when ``head`` has read enough."""


@contextmanager
def to_output() -> Iterator[None]:
    """Turn errors of writing to standard output into ours.

    :raises ReaderGone: its reader is gone.
    :raises DataError: it cannot be written, as on a full disk.
    """
    try:
        yield
    except OSError as error:
        # Python must not fail on what is still buffered when it exits.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise ReaderGone from error
        what = f"the output cannot be written: {error.strerror}"
        raise DataError(what, todo="make room there, or write it elsewhere") from error


def fit_encoding() -> None:
    """From now on, replace characters that an output's encoding lacks by ASCII."""
    codecs.register_error("alertstream", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="alertstream")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_IN_ASCII)
    return text.encode("ascii", "backslashreplace").decode(), error.end


def is_quiet() -> bool:
    """Return whether notices and bars are left out."""
    return not LOG.isEnabledFor(logging.WARNING)


class _Waiting:
    """A line that says what the program waits for, refreshed every ``SHOWN_AFTER`` seconds."""

    current: _Waiting | None = None

    def __init__(self, text: str) -> None:
        self._text = printable(text)
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._writing = threading.Lock()
        threading.Thread(target=self._show, daemon=True).start()

    def _show(self) -> None:
        # The terminal may be closed by now.
        with suppress(OSError, ValueError):
            while not self._ended.wait(SHOWN_AFTER):
                with self._writing:
                    if not self._ended.is_set():
                        self._write(f"{self._text} … {time.monotonic() - self._began:.0f} s")

    def _write(self, text: str) -> None:
        """Overwrite the terminal's line, within its width."""
        width = os.get_terminal_size(sys.stderr.fileno()).columns or DEFAULT_WIDTH
        sys.stderr.write(f"\r{text[: width - 1]}\x1b[K")
        sys.stderr.flush()

    def end(self) -> None:
        with self._writing:
            self._ended.set()
            if time.monotonic() - self._began > SHOWN_AFTER:
                self._write("")


def wait_on(text: str) -> None:
    """Show on a terminal what the program waits for, until something else is written."""
    end_waiting()
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    if sys.stderr.isatty() and not (dumb or is_quiet()):
        _Waiting.current = _Waiting(text)


def end_waiting() -> None:
    """Remove the line that says what the program waits for."""
    if _Waiting.current is not None:
        _Waiting.current.end()
        _Waiting.current = None


def write_line(line: str) -> None:
    """Write a line to standard output.

    :raises ReaderGone: its reader is gone.
    :raises DataError: it cannot be written.
    """
    end_waiting()
    with to_output():
        print(_harmless(line), flush=True)


async def write_lines(lines: Iterable[str], stop: asyncio.Event, *, painted: bool = False) -> None:
    """Write lines; a slow reader blocks nothing else.

    :param painted: they contain escape sequences of ours; what they quote is already harmless.
    :raises ReaderGone: their reader is gone.
    :raises DataError: they cannot be written, or nobody takes them within ``SHUTDOWN_TIMEOUT``
        after the stop.
    """
    from alertstream.system.cancellation import in_thread, unless_stopped

    end_waiting()
    text = "\n".join([*lines, ""])
    if not painted:
        text = _harmless(text)
    if hasattr(sys.stdout, "rich_proxied_file"):
        # Through rich, so that a progress bar on this terminal makes way.
        with to_output():
            print(text, end="", flush=True)
        return
    content = text.encode(sys.stdout.encoding, errors=sys.stdout.errors or "strict")

    def write() -> None:
        # Not through Python's buffer: its lock would keep the process from ending.
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(sys.stdout.fileno(), rest) :]

    with to_output():
        try:
            await unless_stopped(stop, in_thread(write))
        except TimeoutError:
            raise DataError("nobody reads the output", todo="see what it is piped to") from None


class Output:
    """Writes lines for several tasks, one at a time."""

    def __init__(self, stop: asyncio.Event) -> None:
        import asyncio

        self._stop = stop
        self._turn = asyncio.Lock()

    async def write(self, lines: Iterable[str]) -> None:
        """Write lines, as :func:`write_lines` does."""
        async with self._turn:
            await write_lines(lines, self._stop)


def as_json(value: dict[str, Any]) -> str:
    """Return an object as a line of strict JSON."""
    return json.dumps(value, allow_nan=False)


class NoticeHandler(logging.Handler):
    """Writes what is logged, by this package or by others."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Write what the formatter makes of it."""
        text = self.format(record)
        # If standard error is gone, there is nowhere to report it.
        with suppress(OSError):
            end_waiting()
            print(_harmless(text), file=sys.stderr, flush=True)


def write_error(error: BaseException, *, traceback: bool = False) -> None:
    """Write what went wrong to standard error."""
    shown = error if traceback else None
    if not isinstance(error, AlertStreamError):
        what = f"{type(error).__name__}: {error} · this should not happen"
        error = AlertStreamError(what, todo="please report it with what --debug shows")
    details = {"message": error.what, "where": error.where, "todo": error.todo}
    LOG.error(Event(f"error: {error}", "error", **details), exc_info=shown)


def log_uncaught() -> None:
    """Write uncaught exceptions, of any thread, like other errors."""

    def log(found: Any) -> None:
        if not isinstance(found.exc_value, SystemExit | None):
            write_error(found.exc_value, traceback=True)

    threading.excepthook = sys.unraisablehook = log
    sys.excepthook = lambda _, error, __: write_error(error, traceback=True)


def _harmless(text: str) -> str:
    """Return lines without control characters: all output goes through here."""
    return "\n".join(map(printable, text.split("\n")))
