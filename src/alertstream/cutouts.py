"""An alert's cutouts, and saving them as FITS files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from alertstream.errors import DataError
from alertstream.survey import Alert

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")


def cutouts(alert: Alert) -> Iterator[tuple[str, str, bytes]]:
    """Yield each cutout's name (``Science``, …), file name and FITS bytes; null ones are left out.

    LSST's alerts have the bytes, which get a name from the source's id; ZTF's have records with
    a name of their own, gzipped. A name from a stream is made safe: nothing but a file's name.
    """
    for name, field in alert.survey.cutouts.items():
        cutout = alert.get(field)
        if isinstance(cutout, dict):
            own = _UNSAFE.sub("_", str(cutout.get("fileName"))).lstrip(".")
            cutout = cutout.get("stampData")
        else:
            own = f"{alert.source_id}-{name}.fits"
        if isinstance(cutout, bytes):
            yield name, own[-200:] or f"{alert.source_id}-{name}.fits", cutout


def save_cutouts(alert: Alert, folder: Path) -> list[Path]:
    """Write the alert's cutouts into ``folder``; return the files, each whole.

    :raises DataError: a file cannot be written.
    """
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for _, name, content in cutouts(alert):
            path = folder / name
            part = folder / f".{name}.{os.getpid()}.part"
            part.write_bytes(content)
            paths.append(part.replace(path))
    except OSError as error:
        raise DataError(
            f"cutouts cannot be written ({error.strerror})",
            where=str(folder),
            todo="choose another --stamp-dir",
        ) from error
    return paths
