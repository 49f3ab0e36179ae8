"""Lays out a light curve: which measurements, on which axes, and what is left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Self

from alertstream.alert.alert import Alert
from alertstream.alert.light_curve import Measurement, light_curve

MAX_POINTS = 500
"""Measurements that a light curve shows: detections before others, the latest of each."""
AREA = {"width": 290, "height": 130, "left": 56, "right": 282, "top": 14, "bottom": 102}
"""Of a light curve, and where its axes are, pixel."""
MAX_BAND, MAX_BANDS = 8, 8
MIN_DAYS = 2.0
"""A shorter time span is drawn this long."""
MIN_RANGE = 0.1
"""As a fraction of the flux: a smaller range is drawn this large."""
MIN_FOR_OUTLIERS = 8
"""Measurements from which on some may count as outliers."""
FENCE = 2.0
"""How far from the others an outlier is, in units of the central 80 % range."""

_ORDER = ("now", "detection", "limit", "forced")
"""Kinds of measurements, the most important first."""
_NAMES = {"detection": "detection", "limit": "upper limit", "forced": "forced measurement"}


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
        """Return where a value is drawn: at an end, if it is beyond that."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 1)

    def beyond(self, value: float) -> int:
        """Return 1 for a value above all that is drawn, -1 for one below, and else 0."""
        # A value at the end may differ in its last digit.
        spare = 1e-6 * (self.high - self.low)
        return (value > self.high + spare) - (value < self.low - spare)

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

    :param measurements: in the order in which they are drawn: the last ones cover others.
    :param brightness: of fluxes in the difference image, nJy.
    :param described: what is drawn, and what is left out.
    """

    measurements: Sequence[Measurement]
    time: Axis
    brightness: Axis
    time_scale: str
    described: str

    @property
    def bands(self) -> list[str]:
        """The bands, from blue to red, as far as there is room for them."""
        bands = {str(each.band) for each in self.measurements}
        return sorted(bands, key=lambda band: ("ugrizy".find(band), band))[:MAX_BANDS]


def plot(alert: Alert) -> Plot | None:
    """Return an alert's light curve, to be drawn; None if nothing was measured.

    :raises TypeError, ValueError: its history has unexpected types.
    """
    found = light_curve(alert, alert.survey)
    # Of each kind, the latest come first.
    found.sort(key=lambda each: (_ORDER.index(each.kind), -each.mjd))
    shown = [_with_name(each) for each in found[MAX_POINTS - 1 :: -1]]
    if not shown:
        return None
    time = Axis.over([each.mjd for each in shown], MIN_DAYS, AREA["left"] + 6, AREA["right"] - 6)
    brightness = _brightness(shown)
    outside = sum(brightness.beyond(each.value) != 0 for each in shown)
    described = _described(shown, found[MAX_POINTS:], outside)
    return Plot(shown, time, brightness, alert.time_scale, described)


def _with_name(each: Measurement) -> Measurement:
    band = "–" if each.band is None else str(each.band)
    return each._replace(band=band[:MAX_BAND])


def _brightness(shown: Sequence[Measurement]) -> Axis:
    """Return the axis of fluxes: it has this alert's, and all others but outliers."""
    fluxes = [each.value for each in shown]
    low, high = min(fluxes), max(fluxes)
    if len(fluxes) >= MIN_FOR_OUTLIERS:
        tenths = quantiles(fluxes, n=10, method="inclusive")
        spare = FENCE * (tenths[-1] - tenths[0])
        if spare > 0:
            low, high = max(low, tenths[0] - spare), min(high, tenths[-1] + spare)
    kept = [each for each in shown if low <= each.value <= high or each.kind == "now"]
    # Large errors must not flatten the curve.
    most = max(high - low, *(abs(each.value) * MIN_RANGE for each in kept), 1.0)
    ends = [each.value + sign * min(each.error, most) for each in kept for sign in (-1, 1)]
    if len(fluxes) == 1:
        ends.append(0.0)
    largest = max(map(abs, ends))
    return Axis.over(ends, max(MIN_RANGE * largest, 1.0), AREA["bottom"] - 5, AREA["top"] + 5)


def _described(shown: Sequence[Measurement], others: Sequence[Measurement], outside: int) -> str:
    """Return how many measurements are drawn, and how many are not, for people."""
    described = _counted(shown) or "no history"
    if outside:
        described += f"; {outside} beyond the scale"
    return f"{described}; not drawn: {_counted(others)}" if others else described


def _counted(measured: Sequence[Measurement]) -> str:
    counts = Counter(each.kind for each in measured)
    found = ((counts[kind], name) for kind, name in _NAMES.items())
    return ", ".join(f"{count} {name}{'s' * (count > 1)}" for count, name in found if count)
