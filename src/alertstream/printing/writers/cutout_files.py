"""Writes alerts' cutouts into a folder: FITS files as they came, pictures, or both."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Container, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from alertstream.alert.alert import Alert
from alertstream.alert.surveys import cutout_paths, field_paths
from alertstream.alert.text import SHOWN
from alertstream.printing.writers import Writer
from alertstream.reading.decoder import ReceivedAlert
from alertstream.system.files import write_whole, writing

if TYPE_CHECKING:
    from alertstream.alert.pictures import Triplet

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_MAX_NAME = 200


class CutoutFolder(Writer):
    """Writes an alert's cutouts as files, each of which is complete.

    :param form: ``fits``, the files as they came; ``png``, a picture of the three, and FITS files
        of what it cannot show, so that nothing is lost; or ``both``.
    :raises UsageError: pictures are wanted, but their libraries are not installed.
    """

    durable = True
    keeps_cutouts = True

    def __init__(self, folder: Path, form: str = "fits") -> None:
        self._folder = folder
        self._form = form
        self._cutouts = self._pictures = 0
        self.wants_pictures = form != "fits"
        if self.wants_pictures:
            import_module("alertstream.alert.pictures")

    def paths(self) -> set[str]:
        """Return the cutouts, and what a picture says of the alert."""
        return cutout_paths() | field_paths(SHOWN if self.wants_pictures else ["source_id"])

    def prepare(self, alert: ReceivedAlert, triplet: Triplet | None) -> Callable[[], None]:
        """Return what writes an alert's files."""
        return partial(self._save, alert, triplet)

    def _save(self, alert: Alert, triplet: Triplet | None) -> None:
        only = triplet.causes if triplet and self._form == "png" else None
        if self._form != "png" or only:
            self._cutouts += len(save_cutouts(alert, self._folder, only))
        if triplet and self.wants_pictures:
            from alertstream.alert.pictures import picture, png

            save_file(self._folder, f"{alert.source_id}.png", png(picture(triplet)))
            self._pictures += 1
        self.saved += 1

    def close(self) -> list[Path]:
        """Return the folder: all files are there already."""
        return [self._folder]

    def summary(self, files: Sequence[Path]) -> str:
        """Return how many files were saved in the folder, in a line for people."""
        counts = []
        if self._form != "png" or self._cutouts:
            counts.append(f"{self._cutouts} cutouts")
        if self.wants_pictures:
            counts.append(f"{self._pictures} pictures")
        return f"{' and '.join(counts)} saved in {self._folder}"


def save_cutouts(alert: Alert, folder: Path, only: Container[str] | None = None) -> list[Path]:
    """Write an alert's cutouts, or ``only`` some (``Science``, …); return the files.

    :raises DataError: a file cannot be written.
    """
    saved: list[Path] = []
    for name, (stated, content) in alert.cutouts().items():
        if only is None or name in only:
            taken = any(path.name == file_name(stated) for path in saved)
            saved.append(save_file(folder, f"{name}-{stated}" if taken else stated, content))
    return saved


def file_name(name: str) -> str:
    """Return a safe and unique file name, made from one in a stream."""
    safe = _UNSAFE.sub("_", name[-_MAX_NAME:]).lstrip(".")
    if safe == name:
        return safe
    key = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{key}-{safe}"


def save_file(folder: Path, name: str, content: bytes) -> Path:
    """Write a file into a folder, under a name that a stream has given.

    If another file has that name, as when two alerts share a source id, a hash of the content is
    added.

    :raises DataError: it cannot be written.
    """
    path = folder / file_name(name)
    with writing(folder, what="cutouts", option="--stamp-dir"):
        if path.exists() and path.read_bytes() != content:
            path = path.with_stem(f"{path.stem}-{hashlib.sha256(content).hexdigest()[:12]}")
        return write_whole(path, content)
