"""An alert: its decoded fields, and the quantities that all surveys' alerts have."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, cast

from alertstream.alert.surveys import QUANTITIES, Survey, survey_of

AB_ZERO = 31.4
"""AB magnitude of 1 nJy; magnitude 20 is 36,307.8 nJy."""

_DAY = 86400
_TAI_MINUS_UTC = timedelta(seconds=37)
_MJD_OF_1970 = 40587
_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
_MAGNITUDE_OF_E = 2.5 / math.log(10)


class Alert(dict[str, Any]):
    """An alert's decoded fields, and as attributes the quantities that all surveys have.

    A quantity that is null, or was not decoded, is NaN if it is a measurement and None if it is a
    name or an id, so that comparing it is never an error and never true.
    """

    @cached_property
    def survey(self) -> Survey:
        """Which survey it comes from."""
        return survey_of(self)

    def value(self, name: str) -> Any:
        """Return a quantity, or what is at a dotted path; through an array, that of each item."""
        return getattr(self, name) if name in QUANTITIES else _at(self, name.split("."))

    def _stated(self, quantity: str, nothing: tuple[Any, ...] = (None,)) -> Any:
        """Return the first value that a quantity has, except those that stand for ``nothing``.

        Since version 11, LSST may write an id of 0 for none.
        """
        for path in self.survey.paths.get(quantity, ()):
            value = _at(self, path)
            if value not in nothing:
                return value
        return None

    def _measured(self, quantity: str) -> float:
        value = self._stated(quantity)
        return math.nan if value is None else float(value)

    @cached_property
    def source_id(self) -> int | None:
        """The detection's id, 64 bits."""
        return cast("int | None", self._stated("source_id"))

    @cached_property
    def object_id(self) -> int | str | None:
        """The id of the object that was detected: of the Solar System only if of no other."""
        return cast("int | str | None", self._stated("object_id", nothing=(None, 0)))

    @cached_property
    def ss_object_id(self) -> int | None:
        """The id of the Solar System object that was detected."""
        return cast("int | None", self._stated("ss_object_id", nothing=(None, 0)))

    @cached_property
    def designation(self) -> str | None:
        """The Solar System object's name, as in 2014 QX12."""
        return cast("str | None", self._stated("designation"))

    @cached_property
    def heliocentric_distance(self) -> float:
        """The Solar System object's distance from the Sun, au."""
        return self._measured("heliocentric_distance")

    @cached_property
    def topocentric_distance(self) -> float:
        """The Solar System object's distance from the telescope, au."""
        return self._measured("topocentric_distance")

    @cached_property
    def phase_angle(self) -> float:
        """The angle between Sun and observer as the Solar System object sees them, deg."""
        return self._measured("phase_angle")

    @cached_property
    def reliability(self) -> float:
        """From 0, surely an artefact, to 1, surely real."""
        return self._measured("reliability")

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
        """The middle of the exposure, MJD: TAI for LSST, UTC for ZTF."""
        return self._measured("mjd") - self.survey.mjd_zero

    @cached_property
    def exposure_time(self) -> float:
        """How long the exposure took, s."""
        return self._measured("exposure_time")

    @property
    def shutter(self) -> float:
        """When the shutter closed, the end of the exposure: s since 1970, UTC.

        An exposure whose time is not stated counts as one of its survey's usual ones.
        """
        survey, exposure = self.survey, self.exposure_time
        if not 0 <= exposure < math.inf:
            exposure = survey.exposure
        end = (self.mjd - _MJD_OF_1970) * _DAY + exposure * survey.exposed_after
        return end - _TAI_MINUS_UTC.total_seconds() if survey.time_scale == "TAI" else end

    @property
    def time_scale(self) -> str:
        """The scale of its times: TAI for LSST, UTC for ZTF."""
        return self.survey.time_scale

    @cached_property
    def ra(self) -> float:
        """Right ascension, ICRS, deg."""
        return self._measured("ra")

    @cached_property
    def dec(self) -> float:
        """Declination, ICRS, deg."""
        return self._measured("dec")

    @cached_property
    def flux(self) -> float:
        """Flux of a point source in the difference image, nJy."""
        if "flux" in self.survey.paths:
            return self._measured("flux")
        try:
            return float(10 ** (0.4 * (AB_ZERO - self.magnitude)))
        except OverflowError:
            return math.nan

    @cached_property
    def flux_error(self) -> float:
        """One sigma of the flux, nJy."""
        if "flux_error" in self.survey.paths:
            return self._measured("flux_error")
        return self.flux * self.magnitude_error / _MAGNITUDE_OF_E

    @cached_property
    def snr(self) -> float:
        """Signal-to-noise ratio of the detection; for ZTF, that of its magnitude."""
        if "snr" in self.survey.paths:
            return self._measured("snr")
        error = self.magnitude_error
        return _MAGNITUDE_OF_E / error if error > 0 else math.nan

    @cached_property
    def magnitude(self) -> float:
        """AB magnitude; NaN where the flux is not positive."""
        if "magnitude" in self.survey.paths:
            return self._measured("magnitude")
        flux = self.flux
        return AB_ZERO - 2.5 * math.log10(flux) if flux > 0 else math.nan

    @cached_property
    def magnitude_error(self) -> float:
        """One sigma of the magnitude."""
        if "magnitude_error" in self.survey.paths:
            return self._measured("magnitude_error")
        return _MAGNITUDE_OF_E * self.flux_error / self.flux if self.flux > 0 else math.nan

    @cached_property
    def history(self) -> int:
        """How many earlier detections of the object it carries."""
        (path,) = self.survey.paths["history"]
        return len(self.get(path[0]) or ())

    def cutouts(self) -> dict[str, tuple[str, bytes]]:
        """Return the images by their names (``Science``, …): file name and FITS bytes.

        A file name of ZTF's comes from the stream, and may be anything; its bytes are gzipped.
        Images that are null are left out.
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
        """The middle of the exposure, UTC, to the second; an MJD if no calendar has it."""
        try:
            time = _MJD_EPOCH + timedelta(days=self.mjd, milliseconds=500)
            utc = time - _TAI_MINUS_UTC if self.survey.time_scale == "TAI" else time
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


def _error(sigma: float, form: str) -> str:
    return f" ± {sigma:{form}}" if math.isfinite(sigma) else ""


def _at(value: Any, path: Iterable[str]) -> Any:
    for name in path:
        if isinstance(value, list):
            value = [_at(item, (name,)) for item in value]
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value
