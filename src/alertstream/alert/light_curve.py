"""An object's brightness over time: all its measurements that an alert carries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from alertstream.alert.surveys import surveys
from alertstream.alert.surveys.survey import Survey, flux_of, number

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

_STATED = (
    *("mjd", "exposure_time", "band", "flux", "flux_error", "magnitude", "magnitude_error"),
    *("positive", "negative"),
)


class Measurement(NamedTuple):
    """How much an object's flux differed from that in the template, at a time.

    :param kind: ``detection``, ``forced`` (at a known position), ``limit`` (nothing was seen, down
        to ``value``), or ``now``: the alert's own detection.
    :param mjd: middle of the exposure.
    :param value: flux in the difference image, nJy.
    :param error: one sigma of it; 0 if it is not known.
    """

    kind: str
    mjd: float
    band: str | None
    value: float
    error: float


def light_curve(alert: Mapping[str, Any], survey: Survey) -> list[Measurement]:
    """Return all measurements of an alert's object that have a time and a value, in order of time.

    :param alert: decoded fields; those of earlier measurements may be left out.
    :raises TypeError, ValueError: times or brightness are not numbers.
    """
    records = [
        ("detection", alert.get(survey.detections)),
        ("forced", alert.get(survey.forced)),
        ("now", [alert.get(survey.detection) if survey.detection else alert]),
    ]
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
    fields = {name: survey.field_of(name, records[0]) for name in _STATED}
    for record in records:

        def stated(name: str, record: dict[str, Any] = record) -> Any:
            return record.get(fields[name])

        mjd, name = survey.middle(stated), survey.band_name(stated("band"))
        flux = survey.flux(stated)
        if math.isnan(flux) and survey.limit:
            value = flux_of(number(record.get(survey.limit)))
            yield Measurement("limit", mjd, name, value, 0.0)
        else:
            sigma = survey.flux_error(stated, flux)
            yield Measurement(kind, mjd, name, flux, sigma if 0 < sigma < MAX_VALUE else 0.0)


def detection_paths() -> set[str]:
    """Return the dotted paths of earlier detections to decode for a light curve without errors."""
    return {
        f"{survey.detections}.{name}"
        for survey in surveys()
        if survey.detections
        for name in _names(survey)
    }


def _names(survey: Survey, *more: str) -> set[str]:
    paths = survey.field_paths(("mjd", "band", "flux", *more))
    return {path.rpartition(".")[2] for path in paths} | {survey.limit} - {""}


def light_curve_paths() -> set[str]:
    """Return the dotted paths to decode for a light curve, besides the alert's own quantities."""
    return {
        f"{array}.{name}"
        for survey in surveys()
        for array in (survey.detections, survey.forced)
        if array
        for name in _names(survey, "flux_error")
    }
