"""An alert: its decoded fields, and the quantities that all surveys' alerts have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from operator import length_hint
from types import MappingProxyType
from typing import Any, cast

from alertstream.alert.directions import Vector, angle, unit_vector
from alertstream.alert.surveys import QUANTITIES, survey_with
from alertstream.alert.surveys.survey import (
    AB_ZERO,
    DAY,
    MAGNITUDE_OF_E,
    MJD_EPOCH,
    TAI_MINUS_UTC,
    Survey,
    number,
)

_MJD_OF_1970 = 40587
_GALACTIC_POLE = (-0.8676661375596585, -0.19807633727300056, 0.45598381368730206)
"""In ICRS, as astropy has it: by its definition of 1958, and the frames since then."""
_ECLIPTIC_POLE = (-1.0207044725484355e-07, -0.39777699944404304, 0.9174821299149556)
"""In ICRS, of the mean ecliptic of J2000, IAU 2006: erfa's ecm06."""
_NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


class Measured(cached_property[float]):
    """A number as the survey states it."""

    def __init__(self) -> None:
        super().__init__(lambda alert: number(alert._stated(self.attrname)))


class Alert(dict[str, Any]):
    """An alert's decoded fields, and as attributes the quantities that all surveys have.

    A quantity that is null, or was not decoded, is NaN if it is a measurement and None if it is a
    name or an id, so that comparing it is never an error and never true.
    """

    def __init__(
        self, fields: Mapping[str, Any] = _NO_FIELDS, survey: Survey | None = None
    ) -> None:
        """Make an alert from its fields.

        :param survey: its survey; None: the one that its fields suggest.
        """
        super().__init__(fields)
        self.survey = survey or survey_with(fields)

    def value(self, name: str) -> Any:
        """Return a quantity, or what is at a dotted path; through an array, that of each item."""
        return getattr(self, name) if name in QUANTITIES else _at(self, name.split("."))

    def _stated(self, quantity: str) -> Any:
        """Return the first value that a quantity has."""
        for path in self.survey.paths.get(quantity, ()):
            value = _at(self, path)
            if value is not None:
                return value
        return None

    def _id(self, quantity: str) -> Any:
        """Return the first id that a quantity has, except those that stand for none."""
        values = (_at(self, path) for path in self.survey.paths.get(quantity, ()))
        none = self.survey.no_id
        return next((each for each in values if each is not None and each not in none), None)

    def _measured(self, quantity: str) -> float:
        return number(self._stated(quantity))

    turns: object = ()
    """The iterator by which filters run on it, one after the other."""
    matches_by_turn: dict[int, list[dict[str, Any]]] | None = None
    """What each filter has for :attr:`matches`, if one has asked for it."""

    @property
    def matches(self) -> list[dict[str, Any]]:
        """What it matched, such as a target of a watchlist: dicts of text and numbers.

        In a filter, it starts with what the alert matched upstream; what the filter appends goes
        with the copy to its topic, if the alert passes.
        """
        if self.matches_by_turn is None:
            self.matches_by_turn = {}
        turn = length_hint(self.turns)
        if turn not in self.matches_by_turn:
            self.matches_by_turn[turn] = self._matches_that_came()
        return self.matches_by_turn[turn]

    @property
    def match(self) -> list[dict[str, Any]] | None:
        """The same as a field to be shown: None if it is empty."""
        return self.matches or None

    def _matches_that_came(self) -> list[dict[str, Any]]:
        return []

    @cached_property
    def source_id(self) -> int | str | None:
        """The detection's id, a number of 64 bits, or a name."""
        return cast("int | str | None", self._stated("source_id"))

    @cached_property
    def object_id(self) -> int | str | None:
        """The id of the detected object; a Solar System object's only if there is no other."""
        return cast("int | str | None", self._id("object_id"))

    @cached_property
    def ss_object_id(self) -> int | None:
        """The id of the Solar System object that was detected."""
        return cast("int | None", self._id("ss_object_id"))

    @cached_property
    def designation(self) -> str | None:
        """The Solar System object's name, as in 2014 QX12."""
        return cast("str | None", self._stated("designation"))

    heliocentric_distance = Measured()
    """The Solar System object's distance from the Sun, au."""
    topocentric_distance = Measured()
    """The Solar System object's distance from the telescope, au."""
    phase_angle = Measured()
    """The angle between Sun and observer as the Solar System object sees them, deg."""
    reliability = Measured()
    """From 0, surely an artefact, to 1, surely real."""

    @cached_property
    def visit(self) -> int | None:
        """The visit's id."""
        value = self._stated("visit")
        return value if isinstance(value, int) else None

    @cached_property
    def band(self) -> str | None:
        """The passband: u, g, r, i, z or y."""
        return self.survey.band_name(self._stated("band"))

    @cached_property
    def mjd(self) -> float:
        """The middle of the exposure, MJD, in the survey's :attr:`time_scale`."""
        return self.survey.middle(self._stated)

    exposure_time = Measured()
    """How long the exposure took, s."""

    @property
    def shutter(self) -> float:
        """When the shutter closed, the end of the exposure: s since 1970, UTC.

        If the exposure's length is not stated, the survey's usual one is assumed.
        """
        length = self.survey.length(self._stated)
        end = (self.mjd - _MJD_OF_1970) * DAY + length / 2
        return end - TAI_MINUS_UTC.total_seconds() if self.time_scale == "TAI" else end

    @property
    def time_scale(self) -> str:
        """The scale of its times: TAI for LSST, UTC for ZTF."""
        return self.survey.time_scale

    ra = Measured()
    """Right ascension, ICRS, deg."""
    dec = Measured()
    """Declination, ICRS, deg."""

    @cached_property
    def galactic_latitude(self) -> float:
        """Angle from the plane of the Galaxy, deg."""
        return _latitude(self.ra, self.dec, _GALACTIC_POLE)

    @cached_property
    def ecliptic_latitude(self) -> float:
        """Angle from the mean ecliptic of J2000, deg."""
        return _latitude(self.ra, self.dec, _ECLIPTIC_POLE)

    @cached_property
    def flux(self) -> float:
        """Flux of a point source in the difference image, nJy; negative where it became fainter."""
        return self.survey.flux(self._stated)

    @cached_property
    def flux_error(self) -> float:
        """One sigma of the flux, nJy."""
        return self.survey.flux_error(self._stated, self.flux)

    @cached_property
    def snr(self) -> float:
        """Signal-to-noise ratio of the detection, as the survey states it, or else of its flux.

        It is negative where the survey has a field of its own for what became fainter.
        """
        if "snr" in self.survey.paths:
            snr = self._measured("snr")
        elif self.survey.states_flux:
            snr = self.flux / self.flux_error if self.flux_error > 0 else math.nan
        else:
            error = self._measured("magnitude_error")
            snr = MAGNITUDE_OF_E / error if error > 0 else math.nan
        return math.copysign(snr, -1.0 if self.faded else 1.0) if self.survey.states_sign else snr

    @cached_property
    def faded(self) -> bool:
        """Whether a field of its own says that the source became fainter."""
        return self.survey.sign(self._stated) < 0

    @cached_property
    def magnitude(self) -> float:
        """AB magnitude of the flux; NaN where that is not positive."""
        if self.survey.states_flux:
            return _magnitude(self.flux)
        return self._measured("magnitude") if not self.faded else math.nan

    @cached_property
    def magnitude_error(self) -> float:
        """One sigma of the magnitude."""
        if self.survey.states_flux:
            return MAGNITUDE_OF_E * self.flux_error / self.flux if self.flux > 0 else math.nan
        return self._measured("magnitude_error") if not self.faded else math.nan

    @cached_property
    def science_flux(self) -> float:
        """Flux at the same place in the visit's own image, nJy: a variable star's whole flux."""
        return self._measured("science_flux") * self.survey.nano_janskys

    @cached_property
    def science_flux_error(self) -> float:
        """One sigma of the science flux, nJy."""
        return self._measured("science_flux_error") * self.survey.nano_janskys

    @cached_property
    def science_magnitude(self) -> float:
        """AB magnitude of the science flux; NaN where that is not positive."""
        return _magnitude(self.science_flux)

    @cached_property
    def history(self) -> float:
        """How many earlier detections of the object it carries; NaN if its survey has none."""
        if not self.survey.detections:
            return math.nan
        earlier, name = self.get(self.survey.detections) or (), self.survey.detection_id
        # Upper limits have null for their id.
        return sum(each.get(name, 0) is not None for each in earlier if isinstance(each, dict))

    def cutouts(self) -> dict[str, tuple[str, bytes]]:
        """Return the images by their names (``Science``, …): file name and FITS bytes.

        ZTF's file names come from the stream and may be anything; its bytes are gzipped. Images
        that are null are left out.
        """
        found = {}
        for name, field in self.survey.cutouts.items():
            content = self.get(field)
            file_name = f"{self.source_id}-{name}.fits"
            if isinstance(content, dict):
                file_name = str(content.get("fileName") or f"{file_name}.gz")
                content = content.get("stampData")
            if isinstance(content, bytes):
                found[name] = (file_name, content)
        return found

    @property
    def utc(self) -> str:
        """The middle of the exposure, UTC, to the second; an MJD if it is outside the calendar."""
        try:
            time = MJD_EPOCH + timedelta(days=self.mjd, milliseconds=500)
            utc = time - TAI_MINUS_UTC if self.survey.time_scale == "TAI" else time
        except (OverflowError, ValueError):
            return f"MJD {self.mjd:.5f}"
        return f"{utc:%Y-%m-%d %H:%M:%S}"

    @property
    def brightness(self) -> str:
        """Magnitude with its error, or the flux where it has none, for people."""
        if self.magnitude > 0:
            return f"{self.magnitude:.3f}{_error(self.magnitude_error, '.3f')}"
        if math.isfinite(self.flux):
            return f"{self.flux:+.0f}{_error(self.flux_error, '.0f')} nJy"
        return "-"


def _latitude(ra: float, dec: float, pole: Vector) -> float:
    """Return the angle from the great circle that belongs to a pole, deg."""
    if not (math.isfinite(ra) and math.isfinite(dec)):
        return math.nan
    return 90.0 - angle(pole, unit_vector(ra, dec))


def _magnitude(flux: float) -> float:
    return AB_ZERO - 2.5 * math.log10(flux) if flux > 0 else math.nan


def _error(sigma: float, form: str) -> str:
    return f" ± {sigma:{form}}" if math.isfinite(sigma) else ""


def _at(value: Any, path: Iterable[str]) -> Any:
    for name in path:
        if isinstance(value, list):
            value = [_at(item, (name,)) for item in value]
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value
