"""A file that is looked at again: when it has changed, a thread reads it while alerts go on."""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from alertstream.errors import AlertStreamError, UsageError

LOOK_INTERVAL = 1.0
"""Seconds between two looks at a file. It has to be the same in two of them to be read."""

Content = TypeVar("Content")
_State = tuple[int, ...] | None
_log = logging.getLogger("alertstream")


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a library raises about a file into one of our errors.

    :raises UsageError: it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            # astropy has many, of files that it reads all the same.
            warnings.simplefilter("ignore")
            yield
    except (AlertStreamError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # A panic of a library in Rust is no Exception.
        cause = (
            (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        )
        raise UsageError(
            f"cannot be read: {cause}", where=str(path), todo=f"give {what}"
        ) from error


class WatchedFile(Generic[Content]):
    """What a file holds, as of late.

    If it is gone, or no longer valid, what was read before stays, with a notice.

    :param what: what it has to be, for people.
    :param read: returns what a file holds.
    :raises UsageError: there is no such file, or it cannot be read.
    """

    def __init__(self, path: str | Path, what: str, read: Callable[[Path], Content]) -> None:
        if not isinstance(path, str | os.PathLike):
            raise UsageError(f"{path!r} is not a file's name", todo='write it as in "FILE"')
        self._path, self._what, self._read = Path(path).absolute(), what, read
        self.name = self._path.name
        if not self._path.is_file():
            raise UsageError("there is no such file", where=str(path), todo="give another path")
        self._state = self._seen = self._look()
        with readable(self._path, what):
            self._content = read(self._path)
        self._next_look = time.monotonic() + LOOK_INTERVAL
        self._reading: threading.Thread | None = None

    def content(self) -> Content:
        """Return what it holds. This costs next to nothing, and never waits."""
        now = time.monotonic()
        if now > self._next_look:
            self._next_look = now + LOOK_INTERVAL
            self._read_if_changed()
        return self._content

    def _look(self) -> _State:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev

    def _read_if_changed(self) -> None:
        seen, self._seen = self._seen, self._look()
        if self._reading is not None and self._reading.is_alive():
            return
        if self._seen != self._state and self._seen == seen:
            self._state = seen
            self._reading = threading.Thread(target=self._read_again, daemon=True)
            self._reading.start()

    def _read_again(self) -> None:
        try:
            if self._state is None:
                raise UsageError("the file is gone", where=str(self._path))
            with readable(self._path, self._what):
                content = self._read(self._path)
        except AlertStreamError as error:
            _log.warning("%s; what was read of it before stays in use", error)
        else:
            # One that was written meanwhile is read once more.
            if self._look() == self._state:
                self._content = content
                _log.warning("%s has changed, and was read again", self.name)
