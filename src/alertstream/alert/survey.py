"""What differs between surveys and their versions: where an alert has its visit, SNR, brightness.

A survey is one entry of :data:`SURVEYS`. To add one, name the record that marks its alerts and,
for each quantity, the paths where its versions keep it; :class:`Alert` then has that quantity as
an attribute, and filters written for one survey work on the other.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

AB_ZERO = 31.4
"""AB magnitude of 1 nJy; magnitude 20 is 36,307.8 nJy."""

TAI_MINUS_UTC = timedelta(seconds=37)
MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)

Path = tuple[str, ...]


@dataclass(frozen=True)
class Survey:
    """Where a survey keeps what every alert has.

    :param name: the survey's name.
    :param mark: the top-level record that only this survey's alerts have.
    :param paths: for each quantity, where the versions keep it; the first that is there counts.
    :param cutouts: the images' top-level fields, by their names for people.
    :param earlier: the top-level arrays of earlier measurements, with the names of the mark's
        fields, and what each is called.
    :param magnitude_limit: where a measurement that found nothing says down to which magnitude.
    :param containers: whether each of its messages is a container file, with the schema inside.
    :param carried: top-level fields whose types only these schemas tell, in the messages.
    """

    name: str
    mark: str
    paths: Mapping[str, tuple[Path, ...]]
    cutouts: Mapping[str, str]
    earlier: Mapping[str, str]
    magnitude_limit: Path = ()
    containers: bool = False
    carried: frozenset[str] = frozenset()


def _paths(**quantities: str) -> dict[str, tuple[Path, ...]]:
    return {
        quantity: tuple(tuple(path.split(".")) for path in paths.split())
        for quantity, paths in quantities.items()
    }


_CUTOUTS = {name: f"cutout{name}" for name in ("Science", "Template", "Difference")}

LSST = Survey(
    name="LSST",
    mark="diaSource",
    paths=_paths(
        source_id="diaSource.diaSourceId",
        object_id="diaSource.diaObjectId diaSource.ssObjectId",
        visit="diaSource.visit diaSource.ccdVisitId",
        mjd="diaSource.midpointMjdTai diaSource.midPointTai",
        ra="diaSource.ra",
        dec="diaSource.dec diaSource.decl",
        band="diaSource.band diaSource.filterName",
        snr="diaSource.snr",
        flux="diaSource.psfFlux diaSource.psFlux",
        flux_error="diaSource.psfFluxErr diaSource.psFluxErr",
        history="prvDiaSources.diaSourceId",
    ),
    cutouts=_CUTOUTS,
    earlier={"prvDiaSources": "detection", "prvDiaForcedSources": "forced"},
)
# ZTF numbers each quadrant of an exposure by itself (pid); that is the nearest to a visit it has.
ZTF = Survey(
    name="ZTF",
    mark="candidate",
    paths=_paths(
        source_id="candidate.candid",
        object_id="objectId",
        visit="candidate.pid",
        mjd="candidate.jd",
        ra="candidate.ra",
        dec="candidate.dec",
        band="candidate.fid",
        magnitude="candidate.magpsf",
        magnitude_error="candidate.sigmapsf",
        history="prv_candidates.candid",
    ),
    cutouts=_CUTOUTS,
    earlier={"prv_candidates": "detection"},
    magnitude_limit=("candidate", "diffmaglim"),
    containers=True,
    carried=frozenset(
        (
            *("schemavsn", "publisher", "objectId", "candid", "candidate"),
            *("prv_candidates", "fp_hists", *_CUTOUTS.values()),
        )
    ),
)
SURVEYS = (LSST, ZTF)


class Measured(NamedTuple):
    """How bright an object was, to be compared with its other measurements only.

    :param brightness: more is brighter: flux, nJy, or minus the magnitude.
    :param seen: whether it was detected; else it was not brighter than that.
    """

    mjd: float
    band: str | None
    brightness: float
    seen: bool


ZTF_BANDS = {1: "g", 2: "r", 3: "i"}
_MJD_OF_JD_ZERO = 2_400_000.5
_MAGNITUDE_OF_E = 2.5 / math.log(10)

# What a quantity is worked out from, where a survey does not state it.
_FROM = {
    "magnitude": ("flux",),
    "magnitude_error": ("flux", "flux_error"),
    "snr": ("magnitude_error",),
    "flux": ("magnitude",),
    "flux_error": ("magnitude", "magnitude_error"),
}
QUANTITIES = frozenset(LSST.paths) | frozenset(ZTF.paths)
"""The names under which an :class:`Alert` has what every survey's alerts have."""


def field_paths(names: Iterable[str]) -> set[str]:
    """Return the dotted paths to decode for ``names``: quantities and dotted paths, mixed.

    A quantity stands for its paths in all surveys and versions.
    """
    paths: set[str] = set()
    for name in names:
        for survey in SURVEYS if name in QUANTITIES else ():
            for stated in (name, *_FROM.get(name, ())):
                paths.update(map(".".join, survey.paths.get(stated, ())))
        if name not in QUANTITIES:
            paths.add(name)
    return paths


_CURVE = ("mjd", "band", "flux", "magnitude")


def detection_paths() -> set[str]:
    """Return the dotted paths to decode for :meth:`Alert.detections`, besides the quantities."""
    paths: set[str] = set()
    for survey in SURVEYS:
        field = next(iter(survey.earlier))
        names = [path[-1] for each in _CURVE for path in survey.paths.get(each, ())]
        paths.update(f"{field}.{name}" for name in (*names, *survey.magnitude_limit[1:]))
    return paths


def survey_of(fields: Container[str]) -> Survey:
    """Return the survey whose alerts have these top-level fields: LSST, unless a mark is there."""
    return ZTF if ZTF.mark in fields else LSST


def _at(value: Any, path: Iterable[str]) -> Any:
    for name in path:
        if isinstance(value, list):
            value = [_at(item, (name,)) for item in value]
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def _band(value: Any) -> Any:
    return ZTF_BANDS.get(value, str(value)) if isinstance(value, int) else value


class Alert(dict[str, Any]):
    """An alert's decoded fields, and as attributes the quantities that all surveys have.

    A quantity that is null, or was not decoded, is NaN if it is measured and None if it names
    something, so that comparing it is never an error and never true.
    """

    @cached_property
    def survey(self) -> Survey:
        """Which survey it comes from."""
        return survey_of(self)

    def value(self, name: str) -> Any:
        """Return a quantity, or what is at a dotted path; through an array, that of each item."""
        return getattr(self, name) if name in QUANTITIES else _at(self, name.split("."))

    def _stated(self, quantity: str) -> Any:
        for path in self.survey.paths.get(quantity, ()):
            value = _at(self, path)
            if value is not None:
                return value
        return None

    def _measured(self, quantity: str) -> float:
        value = self._stated(quantity)
        return math.nan if value is None else float(value)

    @cached_property
    def source_id(self) -> int | None:
        """The detection's id, 64 bits."""
        value: int | None = self._stated("source_id")
        return value

    @cached_property
    def object_id(self) -> int | str | None:
        """The id of the object that was detected."""
        value: int | str | None = self._stated("object_id")
        return value

    @cached_property
    def visit(self) -> int | None:
        """The visit's id."""
        value = self._stated("visit")
        return value if isinstance(value, int) else None

    @cached_property
    def band(self) -> str | None:
        """The passband: u, g, r, i, z or y."""
        band: str | None = _band(self._stated("band"))
        return band

    @cached_property
    def mjd(self) -> float:
        """The middle of the exposure, MJD: TAI for LSST, UTC for ZTF."""
        return self._measured("mjd") - self._mjd_zero

    @property
    def _mjd_zero(self) -> float:
        return _MJD_OF_JD_ZERO if self.survey is ZTF else 0.0

    @property
    def time_scale(self) -> str:
        """The scale of its times: TAI for LSST, UTC for ZTF."""
        return "TAI" if self.survey is LSST else "UTC"

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
    def magnitude_limit(self) -> float:
        """AB magnitude, 5 sigma, down to which something would have been seen; ZTF states it."""
        value = _at(self, self.survey.magnitude_limit) if self.survey.magnitude_limit else None
        return math.nan if value is None else float(value)

    @cached_property
    def history(self) -> int:
        """How many earlier detections of the object it carries."""
        (path,) = self.survey.paths["history"]
        return len(self.get(path[0]) or ())

    def measurements(self) -> Iterator[tuple[str, Alert]]:
        """Yield what each measurement of the object is called, and it as an alert of its own.

        The earlier ones come first, as they are in the alert, then its own, called ``now``.
        """
        for field, kind in self.survey.earlier.items():
            for record in self.get(field) or ():
                yield kind, Alert({self.survey.mark: record})
        yield "now", self

    def detections(self) -> list[Measured]:
        """Return its own measurement and the earlier ones that found, or only limited, something.

        :raises TypeError, ValueError: they are no numbers.
        """
        survey = self.survey
        flux = "flux" in survey.paths
        brightness = self.flux if flux else -self.magnitude
        found = [Measured(self.mjd, self.band, brightness, True)]
        earlier = self.get(next(iter(survey.earlier))) or ()
        records = [each for each in earlier if isinstance(each, dict)]
        if not records:
            return found
        # All of them have the same fields, and there may be hundreds.
        time, band, value = (
            next((path[-1] for path in survey.paths[each] if path[-1] in records[0]), "")
            for each in ("mjd", "band", "flux" if flux else "magnitude")
        )
        limit, zero = next(iter(survey.magnitude_limit[1:]), ""), self._mjd_zero
        for record in records:
            at, measured = record.get(time), record.get(value)
            seen = measured is not None
            if not seen:
                measured = record.get(limit)
            if at is not None and measured is not None:
                brightness = float(measured) if flux else -float(measured)
                found.append(Measured(float(at) - zero, _band(record.get(band)), brightness, seen))
        return found

    @property
    def utc(self) -> str:
        """The middle of the exposure, UTC, to the second; an MJD if no calendar has it."""
        try:
            time = MJD_EPOCH + timedelta(days=self.mjd, milliseconds=500)
            utc = time - TAI_MINUS_UTC if self.survey is LSST else time
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
