"""A line on the terminal that says what is waited for, until something else is written."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress

SHOWN_AFTER = 1.0
"""Seconds of silence after which people want to know what is waited for."""
DEFAULT_WIDTH = 40
"""Columns of a terminal that does not say how many it has."""


class Waiting:
    """The line, shown every ``SHOWN_AFTER`` seconds until it is ended."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._shown = False
        threading.Thread(target=self._show, daemon=True).start()

    def _show(self) -> None:
        # The terminal may be closed by now.
        with suppress(OSError, ValueError):
            while not self._ended.wait(SHOWN_AFTER):
                with self._writing:
                    if not self._ended.is_set():
                        self._shown = True
                        _over_line(f"{self._text} … {time.monotonic() - self._began:.0f} s")

    def end(self) -> None:
        """Make room for what is to be written."""
        with self._writing:
            self._ended.set()
            if self._shown:
                _over_line("")
            self._shown = False


def _over_line(text: str) -> None:
    """Write over the terminal's line, as much as it has room for."""
    width = os.get_terminal_size(sys.stderr.fileno()).columns or DEFAULT_WIDTH
    sys.stderr.write(f"\r{text[: width - 1]}\x1b[K")
    sys.stderr.flush()
