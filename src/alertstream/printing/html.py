"""Printed alerts as one page of HTML that needs nothing else: pictures, light curves, a table.

What is on it comes from a stream: every text is escaped by jinja2, and the page forbids whatever
it does not hold itself.
"""

from __future__ import annotations

import base64
import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

from alertstream.alert.pictures import NAMES, Triplet, png, strip
from alertstream.alert.survey import LSST, Alert
from alertstream.alert.text import ON_WHITE
from alertstream.errors import UsageError
from alertstream.kafka.messages import Message
from alertstream.system.files import not_written, part_of

LIMIT = 1_000
"""Alerts that a page holds."""
POINTS = 500
"""Measurements that a light curve shows: the latest."""
EDGE, GAP = 120, 2
WIDTH, HEIGHT = 310, 130
LEFT, RIGHT, TOP, BOTTOM = 58, 300, 14, 102
OTHER_COLOUR = "#777777"

_LARGEST = 1e15
_LONGEST = 60


class Page:
    """Writes alerts to a page, which is there when it is whole, and not before.

    :param path: the file that it becomes.
    :param topic: where the alerts are from.
    :param notice: told how many have found no room.
    :raises UsageError: jinja2 is not installed.
    :raises DataError: the file cannot be written.
    """

    durable = False
    keeps_undecodable = False

    def __init__(
        self,
        path: Path,
        topic: str,
        notice: Callable[[str], None] = lambda text: None,
        limit: int = LIMIT,
    ) -> None:
        try:
            from jinja2 import Environment, FileSystemLoader
        except ImportError as error:
            raise UsageError(
                "pages need jinja2", todo="pip install 'alertstream[images]'"
            ) from error
        environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
        template: Any = environment.get_template("page.html")
        self._template = template.module
        self._path = path
        self._part = part_of(path)
        self._notice = notice
        self._limit = limit
        self._nonce = secrets.token_urlsafe(16)
        self.shown = self.more = 0
        try:
            if path.is_dir():
                raise IsADirectoryError(21, "it is a folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("w", encoding="utf-8", errors="replace")
            self._file.write(self._template.head(topic, self._nonce))
        except OSError as error:
            raise not_written(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    @property
    def draws(self) -> bool:
        """Whether there is room for more pictures."""
        return self.shown < self._limit

    @property
    def saved(self) -> int:
        """Alerts that were taken, those among them that have found no room."""
        return self.shown + self.more

    def prepare(
        self, message: Message, alert: Alert, picture: Triplet | None
    ) -> Callable[[], None]:
        """Return what takes an alert: its row, or that there is one more without room.

        :raises ArithmeticError, TypeError, ValueError: its fields have odd types.
        """
        return partial(self._add, self._row(alert, picture) if self.draws else None)

    def _row(self, alert: Alert, picture: Triplet | None) -> str:
        stamps = (
            "" if picture is None else base64.b64encode(png(strip(picture, EDGE, GAP))).decode()
        )
        alt = "" if picture is None else _described(picture)
        size = (3 * EDGE + 2 * GAP, EDGE)
        return str(self._template.row(_values(alert), stamps, *size, alt, light_curve(alert)))

    def _add(self, row: str | None) -> None:
        if row is None:
            self.more += 1
            return
        try:
            self._file.write(row)
        except OSError as error:
            raise not_written(self._path, error) from error
        self.shown += 1

    def add_undecodable(self, message: Message) -> None:
        """Leave out what is no alert: it has no row."""

    def flush(self) -> None:
        """Wait: the page is written when it is whole."""

    def close(self) -> list[Path]:
        """Write the rest; return the file, which is there now.

        :raises DataError: the page cannot be written.
        """
        written = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        tail = self._template.tail(self.shown, self.more, self._limit, written, self._nonce)
        try:
            self._file.write(tail)
            self._file.close()
            self._part.replace(self._path)
        except OSError as error:
            raise not_written(self._path, error) from error
        if self.more:
            self._notice(f"{self.more} alerts have no room on {self._path}: it has {self.shown}")
        return [self._path]


def _described(picture: Triplet) -> str:
    absent = [
        f"{name.lower()}: {picture.causes.get(name, 'none')}"
        for name in NAMES
        if name not in picture.images
    ]
    return "; ".join(["science, template, difference", *absent])


def _values(alert: Alert) -> dict[str, str]:
    """Return what a row shows of an alert; what is not known is empty."""
    target = ""
    if 0 <= alert.ra <= 360 and -90 <= alert.dec <= 90:
        target = f"{alert.ra:.6f}%20{alert.dec:+.6f}".replace("+", "%2B")
    known = math.isfinite(alert.ra) and math.isfinite(alert.dec)
    return {
        "source": _short(alert.source_id),
        "object": _short(alert.object_id),
        "mjd": _number(alert.mjd, ".6f"),
        "utc": alert.utc if math.isfinite(alert.mjd) else "",
        "band": _short(alert.band),
        "magnitude": _number(alert.magnitude, ".4f"),
        "brightness": " ".join(alert.brightness.split()),
        "snr": _number(alert.snr, ".1f"),
        "ra": _number(alert.ra, ".5f") if known else "",
        "dec": _number(alert.dec, "+.5f") if known else "",
        "target": target,
    }


def _short(value: int | str | None) -> str:
    return "–" if value is None else str(value)[:_LONGEST]


def _number(value: float, form: str) -> str:
    return format(value, form) if abs(value) < _LARGEST else ""


@dataclass(frozen=True)
class Measurement:
    """One point of a light curve.

    :param kind: ``detection``, ``forced``, ``limit`` (nothing was seen, up to it) or ``now``.
    :param value: flux, nJy, or magnitude.
    :param error: one sigma of it; 0 if it is not known.
    """

    kind: str
    mjd: float
    band: str
    value: float
    error: float


@dataclass(frozen=True)
class Point:
    """A measurement's place in a drawing, and what a reader is told there."""

    kind: str
    x: float
    y: float
    low: float
    high: float
    colour: str
    filled: bool
    title: str


@dataclass(frozen=True)
class LightCurve:
    """A light curve to be drawn, in pixels from the upper left corner.

    :param across: places and texts of the marks of time, and ``upwards`` of what was measured.
    :param zero: where the flux is zero, if that is seen.
    :param legend: bands with their colours and places.
    """

    unit: str
    time: str
    points: Sequence[Point]
    across: Sequence[tuple[float, str]]
    upwards: Sequence[tuple[float, str]]
    zero: float | None
    legend: Sequence[tuple[str, str, float]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


def measurements(alert: Alert) -> list[Measurement]:
    """Return what was measured of the object, in order of time: fluxes for LSST, else magnitudes.

    :raises ArithmeticError, TypeError, ValueError: its history has odd types.
    """
    return sorted(_measured(alert), key=lambda each: each.mjd)[-POINTS:]


def _measured(alert: Alert) -> Iterator[Measurement]:
    for kind, each in alert.measurements():
        value, error = each.magnitude, each.magnitude_error
        if alert.survey is LSST:
            value, error = each.flux, each.flux_error
        elif math.isnan(value):
            kind, value, error = "limit", each.magnitude_limit, 0.0
        if abs(value) < _LARGEST and abs(each.mjd) < _LARGEST:
            known = error if 0 < error < _LARGEST else 0.0
            yield Measurement(kind, each.mjd, _short(each.band)[:8], value, known)


def light_curve(alert: Alert) -> LightCurve | None:
    """Return an alert's light curve, drawn; None if nothing was measured.

    :raises ArithmeticError, TypeError, ValueError: its history has odd types.
    """
    measured = measurements(alert)
    if not measured:
        return None
    fluxes = alert.survey is LSST
    times = _range([each.mjd for each in measured], 0.5)
    lows = [each.value - each.error for each in measured]
    highs = [each.value + each.error for each in measured]
    values = _range(lows + highs, 1.0 if fluxes else 0.1)
    across = _scaled(times, (LEFT + 6, RIGHT - 6))
    # Brighter is up, and magnitudes grow downwards.
    upwards = _scaled(values, (BOTTOM - 5, TOP + 5) if fluxes else (TOP + 5, BOTTOM - 5))
    unit = "nJy" if fluxes else "mag"
    points = [
        Point(
            each.kind,
            across(each.mjd),
            upwards(each.value),
            upwards(each.value - each.error),
            upwards(each.value + each.error),
            ON_WHITE.get(each.band, OTHER_COLOUR),
            each.kind not in ("forced", "limit"),
            _title(each, unit),
        )
        for each in measured
    ]
    zero = upwards(0) if fluxes and values[0] <= 0 <= values[1] else None
    ticks = [(upwards(value), text) for value, text in _ticks(*values, 5)]
    bands = sorted({each.band for each in measured}, key=lambda band: ("ugrizy".find(band), band))
    legend = [
        (band, ON_WHITE.get(band, OTHER_COLOUR), round(RIGHT - 24.0 * (len(bands[:8]) - place), 1))
        for place, band in enumerate(bands[:8])
    ]
    return LightCurve(
        unit,
        "MJD (TAI)" if fluxes else "MJD (UTC)",
        points,
        [(across(value), text) for value, text in _ticks(*times, 3)],
        ticks,
        zero,
        legend,
    )


def _title(measured: Measurement, unit: str) -> str:
    form = ".0f" if unit == "nJy" else ".3f"
    sign = "> " if measured.kind == "limit" else ""
    error = f" ± {measured.error:{form}}" if measured.error else ""
    value = f"{sign}{measured.value:{form}}{error} {unit}"
    return f"{measured.kind}: MJD {measured.mjd:.5f}, {measured.band}, {value}"


def _range(values: Sequence[float], least: float) -> tuple[float, float]:
    """Return the smallest and the largest value, or what makes ``least`` of a range around them."""
    low, high = min(values), max(values)
    spare = max(least, abs(low) * 1e-9, abs(high) * 1e-9) - (high - low)
    return (low - spare / 2, high + spare / 2) if spare > 0 else (low, high)


def _scaled(values: tuple[float, float], places: tuple[float, float]) -> Callable[[float], float]:
    (low, high), (start, end) = values, places
    return lambda value: round(start + (value - low) / (high - low) * (end - start), 1)


def _ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Return at most ``most`` round values in a range, with their texts."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    steps = (factor * power for factor in (1, 2, 5, 10, 20, 50))
    step = next(each for each in steps if high // each - math.ceil(low / each) < most)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step), math.floor(high / step)
    return [(each * step, f"{each * step:.{digits}f}") for each in range(first, last + 1)]
