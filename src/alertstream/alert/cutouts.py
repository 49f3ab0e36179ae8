"""An alert's cutouts as files: FITS as it came, and pictures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container
from pathlib import Path

from alertstream.alert.alert import Alert
from alertstream.system.files import not_written, part_of

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_MAX_NAME = 200


def save_cutouts(alert: Alert, folder: Path, only: Container[str] | None = None) -> list[Path]:
    """Write the alert's cutouts into ``folder``; return the files, each of which is complete.

    :param only: names of those to write (``Science``, …); None is all.
    :raises DataError: a file cannot be written.
    """
    saved: list[Path] = []
    for name, (stated, content) in alert.cutouts().items():
        if only is None or name in only:
            file_name = _file_name(stated)
            if any(path.name == file_name for path in saved):
                file_name = _file_name(f"{name}-{stated}")
            saved.append(_save(folder, file_name, content))
    return saved


def save_picture(alert: Alert, content: bytes, folder: Path) -> Path:
    """Write a PNG file of the alert into ``folder``, named by its source's id; return the file.

    :raises DataError: it cannot be written.
    """
    return _save(folder, _file_name(f"{alert.source_id}.png"), content)


def _file_name(name: str) -> str:
    """Return a file's name and nothing else, made of one from a stream: unlike all others."""
    safe = _UNSAFE.sub("_", name[-_MAX_NAME:]).lstrip(".")
    if safe == name:
        return safe
    return f"{hashlib.sha256(name.encode()).hexdigest()[:12]}-{safe}"


def _save(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    part = part_of(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(content)
            return part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise not_written(folder, error, what="cutouts", option="--stamp-dir") from error
