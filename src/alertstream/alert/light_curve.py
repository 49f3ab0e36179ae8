"""An object's brightness over time: all its measurements that an alert carries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from alertstream.alert.surveys import SURVEYS, Survey

BAND_COLOURS = {
    "u": ("#1600ea", "#3eb7ff"),
    "g": ("#31de1f", "#30c39f"),
    "r": ("#b52626", "#ff7e00"),
    "i": ("#370201", "#2af5ff"),
    "z": ("#ba52ff", "#a7f9c1"),
    "y": ("#61a2b3", "#fdc900"),
}
"""The bands' colours on white and on black, as Rubin's RTN-045 recommends them."""

MAX_VALUE = 1e15
"""Beyond it, times and brightness are not physical, and are not drawn."""


class Measurement(NamedTuple):
    """How bright an object was at a time.

    :param kind: ``detection``, ``forced`` (at a known position), ``limit`` (nothing was seen, down
        to ``value``), or ``now``: the alert's own detection.
    :param value: flux, nJy, or magnitude: what the survey states.
    :param error: one sigma of it; 0 if it is not known.
    """

    kind: str
    mjd: float
    band: str | None
    value: float
    error: float


def light_curve(alert: Mapping[str, Any], survey: Survey) -> list[Measurement]:
    """Return all measurements of an alert's object that have a time and a value, in order of time.

    :param alert: decoded fields; those of ``survey.earlier`` may be left out.
    :raises TypeError, ValueError: times or brightness are not numbers.
    """
    records = [(kind, alert.get(field)) for field, kind in survey.earlier.items()]
    records.append(("now", [alert.get(survey.detection)]))
    found = [
        each
        for kind, measured in records
        for each in _measurements(kind, measured, survey)
        if abs(each.mjd) < MAX_VALUE and abs(each.value) < MAX_VALUE
    ]
    return sorted(found, key=lambda each: each.mjd)


def _measurements(kind: str, values: Any, survey: Survey) -> Iterator[Measurement]:
    records = [each for each in values or () if isinstance(each, dict)]
    if not records:
        return
    # All of them have the same fields, and there may be hundreds.
    wanted = ("mjd", "band", survey.brightness, f"{survey.brightness}_error")
    time, band, brightness, error = (survey.field_of(each, records[0]) for each in wanted)
    for record in records:
        mjd = _number(record.get(time)) - survey.mjd_zero
        name = survey.band_name(record.get(band))
        value, sigma = _number(record.get(brightness)), _number(record.get(error))
        if math.isnan(value) and survey.magnitude_limit:
            yield Measurement("limit", mjd, name, _number(record.get(survey.magnitude_limit)), 0.0)
        else:
            yield Measurement(kind, mjd, name, value, sigma if 0 < sigma < MAX_VALUE else 0.0)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def detection_paths() -> set[str]:
    """Return the dotted paths of earlier detections to decode for a light curve without errors."""
    paths: set[str] = set()
    for survey in SURVEYS:
        array = next(iter(survey.earlier))
        stated = (survey.paths[each] for each in ("mjd", "band", survey.brightness))
        names = {path[-1] for path in chain(*stated)} | {survey.magnitude_limit}
        paths |= {f"{array}.{name}" for name in names if name}
    return paths


def light_curve_paths() -> set[str]:
    """Return the fields to decode for a whole light curve, besides the alert's own quantities."""
    return {field for survey in SURVEYS for field in survey.earlier}
