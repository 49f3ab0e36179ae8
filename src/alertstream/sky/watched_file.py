"""A file that a thread watches, and reads again when it has changed, while alerts flow."""

from __future__ import annotations

import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from alertstream.errors import LOG, AlertStreamError, UsageError, info

LOOK_INTERVAL = 1.0
"""Seconds between two checks of a file, which is read once two of them agree."""

MAX_SHOWN = 100
"""Characters of a library's error that are shown."""

TABLE_FORMATS = "a table in CSV, TSV, VOTable, FITS, Parquet or ECSV"

Content = TypeVar("Content")


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Turn whatever is raised about a file into one of our errors, which names it.

    :raises UsageError: it cannot be read.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            # astropy has many, about files that it can read.
            yield
    except UsageError as error:
        raise UsageError(error.what, where=error.where or str(path), todo=error.todo) from error
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # A panic of a library in Rust is not an Exception.
        text = str(error).strip() or type(error).__name__
        cause = (isinstance(error, OSError) and error.strerror) or text.splitlines()[0][:MAX_SHOWN]
        raise UsageError(
            f"cannot be read: {cause}", where=str(path), todo=f"give {what}"
        ) from error


class WatchedFile(Generic[Content]):
    """A file's content, kept up to date.

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
        self.content = self._read_now()
        """The content: a new object whenever it is read again."""
        # The thread ends with this object.
        threading.Thread(target=_watch, args=(weakref.ref(self),), daemon=True).start()

    def _read_now(self) -> Content:
        with readable(self._path, self._what):
            return self._read(self._path)

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev

    def look_again(self) -> None:
        """Read it if it has changed, and is the same as at the last look."""
        seen, self._seen = self._seen, self._look()
        if self._seen == self._state or self._seen != seen:
            return
        self._state = seen
        try:
            if seen is None:
                raise UsageError("the file is gone", where=str(self._path))
            content = self._read_now()
        except AlertStreamError as error:
            LOG.warning("%s; what was read of it before stays in use", error)
        else:
            # One that was written meanwhile is read once more.
            if self._look() == seen:
                self.content = content
                LOG.warning(info(f"{self.name} has changed, and was read again"))


def _watch(reference: weakref.ref[WatchedFile[Any]]) -> None:
    time.sleep(LOOK_INTERVAL)
    while (file := reference()) is not None:
        file.look_again()
        del file
        time.sleep(LOOK_INTERVAL)
