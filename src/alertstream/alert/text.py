"""An alert as text to read: where, when, how bright, and its history as a tiny light curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from alertstream.alert.survey import LSST, Alert, Measured

BARS = "▁▂▃▄▅▆▇█"
"""From faint to bright."""
LIMIT = "↓"
"""Where nothing was seen."""
CURVE_WIDTH = 20
ON_WHITE = {
    "u": "#1600ea",
    "g": "#31de1f",
    "r": "#b52626",
    "i": "#370201",
    "z": "#ba52ff",
    "y": "#61a2b3",
}
ON_BLACK = {
    "u": "#3eb7ff",
    "g": "#30c39f",
    "r": "#ff7e00",
    "i": "#2af5ff",
    "z": "#a7f9c1",
    "y": "#fdc900",
}
"""The bands' colours, as Rubin's RTN-045 recommends them for either background."""
GAP, INDENT = "  ", "  "

_LARGEST = 1e15
_LEAST_RANGE = 0.1
"""Of the brightness, or of a magnitude: less than that is shown as constant."""

Paint = Callable[[str, str], str]
"""Colours a text as what belongs to a band."""


@dataclass(frozen=True)
class Look:
    """How text looks where it is read.

    :param width: columns of the terminal, into which an alert is broken; 0 is one line, however
        long.
    :param mark: returns a band's name in its colour.
    :param draw: returns bars of a band in its colour. Without it, a light curve shows the alert's
        own band only, since nothing would tell bands apart.
    """

    width: int = 0
    mark: Paint | None = None
    draw: Paint | None = None


PLAIN = Look()


class Cell(NamedTuple):
    """A text, and the columns that it takes, which colours do not."""

    text: str
    width: int


_COLUMNS = (
    ("SOURCE", 19),
    ("OBJECT", 19),
    ("BAND", 4),
    ("AB MAGNITUDE", 19),
    ("SNR", 7),
    ("TIME (UTC)", 19),
    ("MJD", 15),
    ("RA, DEC (ICRS)", 25),
    ("RA, DEC (deg)", 19),
    ("HISTORY", 3 + 2 + 6 + 2 + CURVE_WIDTH),
)


def heading(look: Look = PLAIN) -> str:
    """Return what stands above the columns of :func:`alert_text`."""
    right = ("SOURCE", "OBJECT", "AB MAGNITUDE", "SNR")
    return _flow(
        [
            Cell(name.rjust(width) if name in right else name.ljust(width), width)
            for name, width in _COLUMNS
        ],
        look.width,
    )


def alert_text(alert: Alert, look: Look = PLAIN) -> str:
    """Return an alert as a line, or several where the terminal is narrow.

    :raises ArithmeticError, TypeError, ValueError: its fields have odd types.
    """
    band = printable(str(alert.band or "-"))
    texts = (
        f"{printable(str(alert.source_id)):>19}",
        f"{printable(str(alert.object_id or '-')):>19}",
        f"{band:^4}",
        f"{alert.brightness:>19}",
        f"{alert.snr:7.1f}" if math.isfinite(alert.snr) else f"{'-':>7}",
        f"{alert.utc:19}",
        f"{alert.mjd:11.5f} {alert.time_scale}",
        f"{sexagesimal(alert.ra, alert.dec):25}",
        f"{alert.ra:9.5f} {alert.dec:+9.5f}",
    )
    cells = [
        Cell(text, max(len(text), width)) for text, (_, width) in zip(texts, _COLUMNS, strict=False)
    ]
    if look.mark is not None:
        cells[2] = Cell(look.mark(texts[2], band), cells[2].width)
    return _flow([*cells, Cell(_history(alert, look), _COLUMNS[-1][1])], look.width)


def _flow(cells: Iterable[Cell], width: int) -> str:
    """Return cells side by side, in lines of ``width`` columns; 0 is one line."""
    lines: list[list[str]] = [[]]
    used = 0
    for text, columns in cells:
        if width and lines[-1] and used + columns > width:
            lines.append([])
            used = len(INDENT)
        used += columns + len(GAP)
        lines[-1].append(text)
    joined = (GAP.join(line).rstrip() for line in lines)
    return f"\n{INDENT}".join(joined)


def sexagesimal(ra: float, dec: float) -> str:
    """Return a position, deg, as hours and degrees with their sixtieths; ``-`` where none is."""
    if not (0 <= ra <= 360 and -90 <= dec <= 90):
        return "-"
    hours, milliseconds = divmod(round(ra * 240_000) % 86_400_000, 3_600_000)
    degrees, hundredths = divmod(round(abs(dec) * 360_000), 360_000)
    return (
        f"{hours:02}:{milliseconds // 60_000:02}:{milliseconds % 60_000 / 1000:06.3f} "
        f"{'-' if dec < 0 else '+'}{degrees:02}:{hundredths // 6000:02}:"
        f"{hundredths % 6000 / 100:05.2f}"
    )


def _history(alert: Alert, look: Look) -> str:
    """Return how many earlier detections there are, over how many days, and the light curve."""
    if not alert.history:
        return f"{0:3}"
    measured = [each for each in alert.detections() if _is_sane(each)]
    days = max((alert.mjd - each.mjd for each in measured), default=math.nan)
    bands = {each.band for each in measured} if look.draw else {alert.band}
    bars = light_curve(measured, bands, fluxes=alert.survey is LSST)
    span = f"{days:.{0 if days >= 100 else 1}f} d" if 0 <= days < _LARGEST else "-"
    return f"{alert.history:3}{GAP}{span:>6}{GAP}{_painted(bars, look.draw)}"


def _is_sane(measured: Measured) -> bool:
    return abs(measured.mjd) < _LARGEST and abs(measured.brightness) < _LARGEST


class Bar(NamedTuple):
    """A character of a light curve, and the band whose brightness it shows."""

    character: str
    band: str | None


def light_curve(
    measured: Sequence[Measured], bands: Collection[str | None], *, fluxes: bool
) -> list[Bar]:
    """Return brightness as bars, time to the right; of several in one bar's time, the latest.

    Time goes over all that was measured. Less than two measurements of these bands make no curve.

    :param bands: whose bars are drawn.
    :param fluxes: whether brightness is in fluxes, or in magnitudes.
    """
    # What was seen covers what was not.
    drawn = sorted((each for each in measured if each.band in bands), key=_covering)
    if len(drawn) < 2:
        return []
    first = min(each.mjd for each in measured)
    days = max(each.mjd for each in measured) - first
    low, high = _range([each.brightness for each in drawn if each.seen], fluxes)
    bars = [Bar(" ", None)] * CURVE_WIDTH
    for each in drawn:
        place = (each.mjd - first) / days if days else 1.0
        share = (each.brightness - low) / ((high - low) or 1.0)
        character = BARS[round(share * (len(BARS) - 1))] if each.seen else LIMIT
        bars[round(place * (CURVE_WIDTH - 1))] = Bar(character, each.band)
    return bars


def _covering(measured: Measured) -> tuple[bool, float]:
    return measured.seen, measured.mjd


def _range(values: Sequence[float], fluxes: bool) -> tuple[float, float]:
    """Return the faintest and the brightest, or a wider range that shows little as constant."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    least = _LEAST_RANGE * (max(abs(low), abs(high)) if fluxes else 1.0)
    spare = max(least - (high - low), 0.0) / (len(BARS) - 1)
    # What is constant has one bar's height, and is not between two.
    return low - 3 * spare, high + 4 * spare


def _painted(bars: Iterable[Bar], draw: Paint | None) -> str:
    if draw is None:
        return "".join(each.character for each in bars)
    parts = []
    for band, together in groupby(bars, key=lambda each: each.band):
        text = "".join(each.character for each in together)
        parts.append(draw(text, band) if band else text)
    return "".join(parts)


def printable(text: str) -> str:
    """Return what comes from a stream without anything that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
