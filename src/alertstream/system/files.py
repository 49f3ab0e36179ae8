"""Files that are there when they are whole, and the error where they cannot be written."""

from __future__ import annotations

import os
from pathlib import Path

from alertstream.errors import DataError


def part_of(path: Path) -> Path:
    """Return the hidden file beside ``path`` that it is written to until it is whole."""
    return path.parent / f".{path.name}.{os.getpid()}.part"


def not_written(
    path: Path, error: OSError, *, what: str = "the file", option: str = "--save"
) -> DataError:
    """Return the error that says why something cannot be written.

    :param what: what it is, in words for the user.
    :param option: which option names another place.
    """
    return DataError(
        f"{what} cannot be written ({error.strerror or error})",
        where=str(path),
        todo=f"choose another {option}",
    )
