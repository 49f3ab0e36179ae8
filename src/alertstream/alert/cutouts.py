"""An alert's cutouts, and saving them as FITS files and pictures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Iterator
from pathlib import Path

from alertstream.alert.survey import Alert
from alertstream.system.files import not_written, part_of

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_LONGEST = 200
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|(COM|LPT)\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, whatever their suffix."""


def cutouts(alert: Alert) -> Iterator[tuple[str, str, bytes]]:
    """Yield each cutout's name (``Science``, …), file name and FITS bytes; null ones are left out.

    LSST's alerts have the bytes, which get a name from the source's id; ZTF's have records with
    a name of their own, gzipped. What comes from a stream is made a file's name and nothing else.
    """
    given: set[str] = set()
    for name, field in alert.survey.cutouts.items():
        cutout = alert.get(field)
        own = f"{alert.source_id}-{name}.fits"
        if isinstance(cutout, dict):
            own = str(cutout.get("fileName") or f"{own}.gz")
            cutout = cutout.get("stampData")
        if isinstance(cutout, bytes):
            own = _file_name(own if own not in given else f"{name}-{own}")
            given.add(own)
            yield name, own, cutout


def _file_name(name: str) -> str:
    """Return a name that any file system takes, and that no other name becomes."""
    safe = _UNSAFE.sub("_", name[-_LONGEST:]).lstrip(".")
    if safe == name and not _DEVICE.fullmatch(safe):
        return safe
    return f"{hashlib.sha256(name.encode()).hexdigest()[:12]}-{safe}"


def save_cutouts(alert: Alert, folder: Path, only: Container[str] | None = None) -> list[Path]:
    """Write the alert's cutouts into ``folder``; return the files, each whole.

    :param only: names of those to write (``Science``, …); None is all.
    :raises DataError: a file cannot be written.
    """
    wanted = [each for each in cutouts(alert) if only is None or each[0] in only]
    return [_save(folder, name, content) for _, name, content in wanted]


def save_picture(alert: Alert, content: bytes, folder: Path) -> Path:
    """Write a PNG file of the alert into ``folder``, named by its source's id; return the file.

    :raises DataError: it cannot be written.
    """
    return _save(folder, _file_name(f"{alert.source_id}.png"), content)


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
