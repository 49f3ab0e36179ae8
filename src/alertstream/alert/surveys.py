"""The table of surveys: where each keeps an alert's visit, position, brightness, history, images.

To add a survey to :data:`SURVEYS`, name the record that only its alerts have and, for each
quantity, the paths where its versions keep it: filters written for one then work on the other.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str, ...]


@dataclass(frozen=True)
class Survey:
    """Where a survey keeps what every alert has.

    :param detection: the top-level record of the detection, which only this survey's alerts have.
    :param paths: for each quantity, where the versions keep it; the first that is there counts.
    :param cutouts: the images' top-level fields, by their names for people.
    :param earlier: the top-level arrays of earlier measurements, whose items have the fields of
        ``detection``, and what each item is called; the first array is that of detections.
    :param mjd_zero: what is subtracted from its times to get an MJD.
    :param exposure: seconds of an exposure, where an alert does not say it.
    :param exposed_after: the share of an exposure that comes after the time that an alert states.
    :param bands: names of the passbands, where the survey numbers them.
    :param magnitude_limit: the field that says down to which magnitude nothing was detected.
    :param containers: whether each of its messages is a container file, with the schema inside.
    :param carried: top-level fields of schemas that come only in such messages.
    """

    name: str
    detection: str
    paths: Mapping[str, tuple[Path, ...]]
    cutouts: Mapping[str, str]
    earlier: Mapping[str, str]
    time_scale: str
    mjd_zero: float = 0.0
    exposure: float = 30.0
    exposed_after: float = 0.5
    bands: Mapping[int, str] = field(default_factory=dict)
    magnitude_limit: str = ""
    containers: bool = False
    carried: frozenset[str] = frozenset()

    @property
    def brightness(self) -> str:
        """The quantity that it states: ``flux`` or ``magnitude``."""
        return "flux" if "flux" in self.paths else "magnitude"

    def field_of(self, quantity: str, record: Container[str]) -> str:
        """Return the field of a measurement that is a quantity; empty if it has none."""
        names = (path[-1] for path in self.paths.get(quantity, ()))
        return next((name for name in names if name in record), "")

    def band_name(self, value: Any) -> str | None:
        """Return the name of a passband, given as the survey has it."""
        return self.bands.get(value, str(value)) if isinstance(value, int) else value


def _paths(**quantities: str) -> dict[str, tuple[Path, ...]]:
    return {
        quantity: tuple(tuple(path.split(".")) for path in paths.split())
        for quantity, paths in quantities.items()
    }


_CUTOUTS = {name: f"cutout{name}" for name in ("Science", "Template", "Difference")}

LSST = Survey(
    name="LSST",
    detection="diaSource",
    paths=_paths(
        source_id="diaSource.diaSourceId",
        object_id="diaSource.diaObjectId diaSource.ssObjectId",
        visit="diaSource.visit diaSource.ccdVisitId",
        mjd="diaSource.midpointMjdTai diaSource.midPointTai",
        exposure_time="diaSource.exposureTime",
        ra="diaSource.ra",
        dec="diaSource.dec diaSource.decl",
        band="diaSource.band diaSource.filterName",
        snr="diaSource.snr",
        flux="diaSource.psfFlux diaSource.psFlux",
        flux_error="diaSource.psfFluxErr diaSource.psFluxErr",
        history="prvDiaSources.diaSourceId",
        reliability="diaSource.reliability",
        ss_object_id="diaSource.ssObjectId ssSource.ssObjectId",
        designation="ssSource.designation mpc_orbits.designation",
        heliocentric_distance="ssSource.helioRange ssSource.heliocentricDist",
        topocentric_distance="ssSource.topoRange ssSource.topocentricDist",
        phase_angle="ssSource.phaseAngle",
    ),
    cutouts=_CUTOUTS,
    earlier={"prvDiaSources": "detection", "prvDiaForcedSources": "forced"},
    time_scale="TAI",
)
# ZTF numbers each quadrant of an exposure by itself (pid); that is the nearest to a visit it has.
ZTF = Survey(
    name="ZTF",
    detection="candidate",
    paths=_paths(
        source_id="candidate.candid",
        object_id="objectId",
        visit="candidate.pid",
        mjd="candidate.jd",
        exposure_time="candidate.exptime",
        ra="candidate.ra",
        dec="candidate.dec",
        band="candidate.fid",
        magnitude="candidate.magpsf",
        magnitude_error="candidate.sigmapsf",
        history="prv_candidates.candid",
        reliability="candidate.drb candidate.rb",
    ),
    cutouts=_CUTOUTS,
    earlier={"prv_candidates": "detection"},
    time_scale="UTC",
    mjd_zero=2_400_000.5,
    # The schema of ZTF says that jd is the start of the exposure.
    exposed_after=1.0,
    bands={1: "g", 2: "r", 3: "i"},
    magnitude_limit="diffmaglim",
    containers=True,
    carried=frozenset(
        ("schemavsn", "publisher", "objectId", "candid", "candidate", "prv_candidates", "fp_hists")
    ).union(_CUTOUTS.values()),
)
SURVEYS = (LSST, ZTF)

QUANTITIES = frozenset(LSST.paths) | frozenset(ZTF.paths)
"""The names under which an alert has what every survey's alerts have."""

# What a quantity is calculated from, where a survey does not state it.
_CALCULATED_FROM = {
    "magnitude": ("flux",),
    "magnitude_error": ("flux", "flux_error"),
    "snr": ("magnitude_error",),
    "flux": ("magnitude",),
    "flux_error": ("magnitude", "magnitude_error"),
}


def survey_of(fields: Container[str]) -> Survey:
    """Return the survey whose alerts have these top-level fields: LSST, unless they are ZTF's."""
    return ZTF if ZTF.detection in fields else LSST


def field_paths(names: Iterable[str]) -> set[str]:
    """Return the dotted paths to decode for ``names``: quantities and dotted paths, mixed.

    A quantity stands for its paths in all surveys and versions.
    """
    paths: set[str] = set()
    for name in names:
        if name not in QUANTITIES:
            paths.add(name)
            continue
        for survey in SURVEYS:
            for stated in (name, *_CALCULATED_FROM.get(name, ())):
                paths.update(".".join(path) for path in survey.paths.get(stated, ()))
    return paths


def cutout_paths() -> set[str]:
    """Return the fields to decode for an alert's images."""
    return {field for survey in SURVEYS for field in survey.cutouts.values()}
