"""Alerts to a page of HTML that needs nothing else: pictures, light curves, a table to sort.

What is on it comes from a stream: every text is escaped by jinja2, and the page forbids whatever
it does not hold itself.
"""

from __future__ import annotations

import base64
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

from alertstream.alert.alert import Alert
from alertstream.alert.light_curve import (
    BAND_COLOURS,
    MAX_VALUE,
    Measurement,
    light_curve,
    light_curve_paths,
)
from alertstream.alert.pictures import NAMES, Triplet, png, strip
from alertstream.alert.surveys import cutout_paths, field_paths
from alertstream.alert.text import SHOWN
from alertstream.errors import Notice
from alertstream.printing.writers import Writer
from alertstream.reading.decoder import ReceivedAlert
from alertstream.system.extras import extra
from alertstream.system.files import Part, writing

with extra("images", "pages"):
    from jinja2 import Environment, FileSystemLoader

MAX_ALERTS = 1_000
"""Alerts that a page holds."""
MAX_POINTS = 500
"""Measurements that a light curve shows: the latest."""
EDGE, GAP = 120, 2
"""Of the images, pixel."""
AREA = {"width": 310, "height": 130, "left": 58, "right": 300, "top": 14, "bottom": 102}
"""Of a light curve, and where its axes are, pixel."""
MAX_TEXT, MAX_BAND, MAX_BANDS = 60, 8, 8


class HtmlPage(Writer):
    """Writes alerts to a page, which is there when it is complete, and not before.

    :param topic: where the alerts are from.
    :param notice: called with how many alerts the page has no room for.
    :param keep: leave a page that is there, and write a further one beside it.
    :raises DataError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        topic: str,
        notice: Notice = lambda text: None,
        limit: int = MAX_ALERTS,
        *,
        keep: bool = False,
    ) -> None:
        self._template = _template()
        self._path = path
        self._notice = notice
        self._limit = limit
        self._keep = keep
        # As long as there is room for one more alert.
        self.wants_pictures = True
        self._nonce = secrets.token_urlsafe(16)
        with writing(path):
            self._part = Part.further(path) if keep else Part(path)
        self._write(self._template.head(topic, self._nonce))

    def __exit__(self, *_: object) -> None:
        self._part.discard()

    def _write(self, text: str) -> None:
        with writing(self._path):
            self._part.file.write(text.encode(errors="replace"))

    def paths(self) -> set[str]:
        """Return all that a row shows."""
        return field_paths(SHOWN) | cutout_paths() | light_curve_paths()

    def prepare(self, alert: ReceivedAlert, triplet: Triplet | None) -> Callable[[], None]:
        """Return what takes an alert: its row, or that there is one more without room."""
        if not self.wants_pictures:
            return partial(self._add, "")
        images = base64.b64encode(png(strip(triplet, EDGE, GAP))).decode() if triplet else ""
        described = _described(triplet) if triplet else ""
        row = self._template.row(alert, _target(alert), images, described, plot(alert))
        return partial(self._add, str(row))

    def _add(self, row: str) -> None:
        self._write(row)
        self.saved += 1
        self.wants_pictures = self.saved < self._limit

    def close(self) -> list[Path]:
        """Write the rest; return the file, which is there now."""
        if self._keep and not self.saved:
            return []
        shown = min(self.saved, self._limit)
        more = self.saved - shown
        written = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        self._write(self._template.tail(shown, more, self._limit, written, self._nonce))
        with writing(self._path):
            path = self._part.finish()
        if more:
            self._notice(f"{path} shows the first {shown} alerts; {more} more are not on it")
        return [path]


def _described(triplet: Triplet) -> str:
    absent = [
        f"{name.lower()}: {triplet.causes.get(name, 'none')}"
        for name in NAMES
        if name not in triplet.panels
    ]
    return "; ".join(["science, template, difference", *absent])


def _target(alert: Alert) -> str:
    """Return a position as links have it; empty if it is not one."""
    if not (0 <= alert.ra <= 360 and -90 <= alert.dec <= 90):
        return ""
    return f"{alert.ra:.6f}%20{alert.dec:+.6f}".replace("+", "%2B")


@dataclass(frozen=True)
class Axis:
    """Where values are drawn: from ``low`` at ``start`` to ``high`` at ``end``, pixel."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], min_range: float, start: float, end: float) -> Self:
        """Return the axis for values; a range that is smaller is widened around them."""
        low, high = min(values), max(values)
        spare = max(min_range, abs(low) * 1e-9, abs(high) * 1e-9) - (high - low)
        return cls(low - max(spare, 0) / 2, high + max(spare, 0) / 2, start, end)

    def at(self, value: float) -> float:
        """Return where a value is drawn."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Return where round values are drawn, at most so many, with their texts."""
        power = 10.0 ** math.floor(math.log10((self.high - self.low) / most))
        steps = (factor * power for factor in (1, 2, 5, 10, 20, 50))
        step = next(each for each in steps if self.high // each - math.ceil(self.low / each) < most)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        numbers = range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
        return [(self.at(each * step), f"{each * step:.{digits}f}") for each in numbers]


@dataclass(frozen=True)
class Plot:
    """A light curve to be drawn.

    :param unit: of the brightness: ``nJy`` or ``mag``.
    """

    measurements: Sequence[Measurement]
    time: Axis
    brightness: Axis
    unit: str
    time_scale: str

    @property
    def bands(self) -> list[str]:
        """The bands, from blue to red, as far as there is room for them."""
        bands = {str(each.band) for each in self.measurements}
        return sorted(bands, key=lambda band: ("ugrizy".find(band), band))[:MAX_BANDS]


def plot(alert: Alert) -> Plot | None:
    """Return an alert's light curve, to be drawn; None if nothing was measured.

    :raises TypeError, ValueError: its history has unexpected types.
    """
    measured = [
        each._replace(band=_short(each.band)[:MAX_BAND])
        for each in light_curve(alert, alert.survey)[-MAX_POINTS:]
    ]
    if not measured:
        return None
    time = Axis.over([each.mjd for each in measured], 0.5, AREA["left"] + 6, AREA["right"] - 6)
    ends = [each.value + sign * each.error for each in measured for sign in (-1, 1)]
    brightness = Axis.over(ends, 1.0, AREA["bottom"] - 5, AREA["top"] + 5)
    return Plot(measured, time, brightness, "nJy", alert.time_scale)


def _short(value: int | str | None) -> str:
    return "–" if value is None else str(value)[:MAX_TEXT]


def _number(value: float, form: str) -> str:
    return format(value, form) if abs(value) < MAX_VALUE else ""


def _template() -> Any:
    """Return the macros of the page."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    environment.filters |= {"short": _short, "number": _number}
    environment.globals |= {
        "colours": {band: on_white for band, (on_white, _) in BAND_COLOURS.items()},
        "images": {"width": 3 * EDGE + 2 * GAP, "height": EDGE},
        "area": AREA,
    }
    return environment.get_template("page.html").module
