"""Files that are there only when they are whole, and the error if they cannot be written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from alertstream.errors import DataError


def paths_of(given: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the one path, or all, that a Python program has given."""
    return [Path(each) for each in ([given] if isinstance(given, str | Path) else given)]


def part_of(path: Path) -> Path:
    """Return the hidden file beside ``path`` that it is written to until it is whole."""
    return path.parent / f".{path.name}.{os.getpid()}.part"


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file that has its name only when it is whole.

    :raises OSError: it cannot be written; nothing is left of it.
    """
    part = part_of(path)
    try:
        part.write_bytes(content)
        return part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, *, what: str = "the file", option: str = "--save") -> Iterator[None]:
    """Turn an operating system's error while ``path`` is written into one of ours.

    :param what: what is written, in words for the user.
    :param option: which option names another place.
    :raises DataError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{what} cannot be written ({error.strerror or error})",
            where=str(path),
            todo=f"choose another {option}",
        ) from error
