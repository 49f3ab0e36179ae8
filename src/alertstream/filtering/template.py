"""The file that ``filter --new`` writes: a filter that runs at once, with tests of its own."""

from __future__ import annotations

import re
from pathlib import Path

from alertstream.errors import DataError, FilterError, UsageError

TEXT = '''"""A filter for alertstream: change it, test it, try it on a file of alerts, and run it.

    pytest MyFilter.py
    alertstream filter --dry-run ALERTS.avro --filters MyFilter.py
    alertstream filter BROKER TOPIC --filters MyFilter.py
"""

from alertstream import Alert, AlertFilter


# Alerts that pass go to the topic of the class's name.
class MyFilter(AlertFilter):
    """High-confidence detections brighter than magnitude 19 in g or r."""

    # What passes() looks at; nothing else is decoded. Quantities, which every survey has
    # (snr, magnitude, magnitude_error, flux, flux_error, band, ra, dec, mjd, visit, history,
    # reliability, designation and others: see the documentation), or dotted paths, such as
    # "diaSource.extendedness". Where on the sky, such as near a target of a table: see
    # Cone, Moc, SkyMap and Watchlist of alertstream.sky.
    fields = ("snr", "magnitude", "band")

    def passes(self, alert):
        # Quantities are attributes. A number that an alert lacks is NaN: no comparison with it is
        # true. Text and ids, such as the band, are None then.
        # A path's value is alert.value("diaSource.extendedness"), and None if there is none, which
        # cannot be compared: value is not None and value > 0.5
        return alert.snr > 10 and alert.magnitude < 19 and alert.band in ("g", "r")


def lsst_alert(**source):
    return Alert({"diaSource": {"snr": 25.0, "psfFlux": 150_000.0, "band": "r", **source}})


def test_what_passes():
    assert MyFilter().passes(lsst_alert())


def test_what_does_not_pass():
    assert not MyFilter().passes(lsst_alert(snr=8.0))
    assert not MyFilter().passes(lsst_alert(psfFlux=50_000.0))  # nJy, magnitude 19.7
    assert not MyFilter().passes(lsst_alert(band="i"))
    assert not MyFilter().passes(lsst_alert(snr=None))
'''
_CLASS = re.compile(r"(?!(?:Alert|AlertFilter|True|False|None|Filter\d+)$)[A-Z][A-Za-z0-9_]{0,99}")


def write_filter(name: str, folder: Path) -> Path:
    """Write a filter class called ``name`` into ``folder``; return its file.

    :raises UsageError: a filter cannot have this name.
    :raises FilterError: the file exists already.
    :raises DataError: it cannot be written.
    """
    if not _CLASS.fullmatch(name):
        raise UsageError(
            f"{name or repr('')} is not a valid filter name",
            todo="give the name of a class, as in: alertstream filter --new BrightAndBlue",
        )
    path = folder / f"{name}.py"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEXT.replace("MyFilter", name))
    except FileExistsError:
        raise FilterError(
            "the file exists already, and was not changed",
            where=str(path),
            todo="choose another name or folder",
        ) from None
    except OSError as error:
        raise DataError(f"cannot write the file: {error.strerror}", where=str(path)) from error
    return path
