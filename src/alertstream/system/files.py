"""Files that appear only when complete, file locks, and the errors of writing."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from alertstream.errors import DataError

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Error codes of file systems without locks."""


def paths_of(given: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the paths of a Python argument that may be one path or several."""
    return [Path(each) for each in ([given] if isinstance(given, str | Path) else given)]


def locked(path: Path, *, wait: bool = False) -> BinaryIO:
    """Open a file for appending, locked against other processes while it is open.

    The system releases the lock even of a process that is killed.

    :raises BlockingIOError: another process has it; with ``wait``, it is waited for.
    :raises OSError: it cannot be opened, or not be locked.
    """
    while True:
        with ExitStack() as opened:
            file = opened.enter_context(path.open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # Its last owner may have renamed or removed it by now.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    opened.pop_all()
                    return file


def free_name(path: Path) -> Path:
    """Return an unused name for a backup: ``night.avro.bak``, ``night.avro.bak2``, …"""
    names = (path.with_name(f"{path.name}.bak{number or ''}") for number in (0, *range(2, 10**6)))
    return next(name for name in names if not os.path.lexists(name))


class Part:
    """A hidden ``file`` beside ``path``, which becomes ``path`` when complete.

    One process writes it at a time; the leftover of a killed one is overwritten.

    :raises BlockingIOError: another process writes it; with ``wait``, it is waited for.
    :raises OSError: it cannot be written.
    """

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._whole = path
        self.path = path.with_name(f".{path.name}.part")
        if self.path.is_symlink():
            self.path.unlink()
        try:
            self.file = locked(self.path, wait=wait)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            self.file = self.path.open("ab")
        self.file.truncate(0)

    @classmethod
    def first_free(cls, path: Path) -> Self:
        """Return a part of the first unused name: ``night.html``, ``night-2.html``, …"""
        number, name = 1, path
        while True:
            with suppress(BlockingIOError):
                part = cls(name)
                if not name.exists():
                    return part
                part.discard()
            number += 1
            name = path.with_stem(f"{path.stem}-{number}")

    def finish(self, *, sync: bool = True) -> Path:
        """Give the file its name, and return it; with ``sync``, the disk has the content before."""
        self.file.flush()
        if sync:
            os.fsync(self.file.fileno())
        self.path.replace(self._whole)
        self.file.close()
        return self._whole

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def discard(self) -> None:
        """Remove it, unless it is finished."""
        if not self.file.closed:
            self.path.unlink(missing_ok=True)
            self.file.close()


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file that appears only when complete, and make its folder if there is none.

    :raises OSError: it cannot be written; nothing is left of it.
    """
    with Part(path, wait=True) as part:
        part.file.write(content)
        return part.finish(sync=False)


@contextmanager
def writing(path: Path, *, what: str = "the file", option: str = "--save") -> Iterator[None]:
    """Turn an operating system's error while ``path`` is written into one of ours.

    :param what: what is written, in words for the user.
    :param option: which option names another place.
    :raises DataError: it cannot be written.
    """
    todo = f"choose another {option}"
    try:
        yield
    except BlockingIOError as error:
        raise DataError(f"another process writes to {what}", where=str(path), todo=todo) from error
    except OSError as error:
        what = f"{what} cannot be written ({error.strerror or error})"
        raise DataError(what, where=str(path), todo=todo) from error
