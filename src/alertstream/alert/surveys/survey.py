"""What a survey's table says: where its alerts keep what all alerts have, and in which units."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

Path = tuple[str, ...]
Stated = Callable[[str], Any]
"""Returns the value of a quantity as a measurement states it; None if it does not."""

AB_ZERO = 31.4
"""AB magnitude of 1 nJy; magnitude 20 is 36,307.8 nJy."""
MAGNITUDE_OF_E = 2.5 / math.log(10)
DAY = 86_400.0
"""Seconds."""
MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
TAI_MINUS_UTC = timedelta(seconds=37)
"""Since 2017."""

STATED = frozenset(
    (
        *("source_id", "object_id", "ss_object_id", "designation", "visit", "ra", "dec", "band"),
        *("snr", "flux", "flux_error", "magnitude", "magnitude_error", "reliability"),
        *("science_flux", "science_flux_error", "exposure_time"),
        *("heliocentric_distance", "topocentric_distance", "phase_angle"),
    )
)
"""The quantities that a table may say the fields of."""
QUANTITIES = STATED | {"mjd", "history", "science_magnitude", "match"}
QUANTITIES |= {"galactic_latitude", "ecliptic_latitude"}
"""The names under which an alert has what every survey's alerts have."""

# What a quantity is derived from if a table names no field for it.
_DERIVED_FROM = {
    "magnitude": ("flux",),
    "magnitude_error": ("flux", "flux_error"),
    "snr": ("flux", "flux_error", "magnitude_error"),
    "flux": ("magnitude",),
    "flux_error": ("magnitude", "magnitude_error"),
    "science_magnitude": ("science_flux",),
    "galactic_latitude": ("ra", "dec"),
    "ecliptic_latitude": ("ra", "dec"),
}
_SIGN = ("positive", "negative")
# What the derivation needs besides, by the table's names; these are not quantities.
_ALSO_NEEDED = {"mjd": ("exposure_time",)} | dict.fromkeys(
    ("flux", "magnitude", "magnitude_error", "snr"), _SIGN
)
_TRUE, _FALSE = ("t", "1", "true", 1), ("f", "0", "false", 0)


@dataclass(frozen=True)
class Survey:
    """Where a survey keeps what every alert has.

    :param schemas: patterns of its schemas' names, such as ``lsst.v*.alert``.
    :param fields: dotted paths by which schemas of other names are recognised as its own.
    :param paths: for each quantity, where the versions keep it; the first that is there counts.
        So also ``positive`` or ``negative``: whether the source became brighter, or fainter, where
        fluxes and magnitudes do not say so.
    :param zero_point: AB magnitude of a flux of 1 in its unit.
    :param magnitude_system: ``AB``; no flux follows from magnitudes of others.
    :param at: whether its times are those of an exposure's ``start`` or its ``middle``.
    :param exposure: length of an exposure, s, where an alert does not say it.
    :param mjd_zero: what is subtracted from its times to get an MJD.
    :param no_id: ids that stand for none.
    :param bands: names of the passbands, where the survey numbers them.
    :param detections: the array of earlier detections, whose items have the fields of the alert's
        own detection; empty if there is none.
    :param forced: that of forced measurements.
    :param limit: the field of a detection that says down to which magnitude nothing was seen.
    :param cutouts: the images' top-level fields, by their names for people.
    :param flipped: whether the difference image of what became fainter is template minus science.
    :param containers: whether each of its messages is a container file, with the schema inside.
    :param other_fields: top-level fields that its alerts have, besides those above.
    """

    name: str
    schemas: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    paths: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    zero_point: float = AB_ZERO
    magnitude_system: str = "AB"
    time_scale: str = ""
    at: str = "middle"
    exposure: float = 0.0
    mjd_zero: float = 0.0
    no_id: tuple[Any, ...] = ()
    bands: Mapping[str, str] = field(default_factory=dict)
    detections: str = ""
    forced: str = ""
    limit: str = ""
    cutouts: Mapping[str, str] = field(default_factory=dict)
    flipped: bool = False
    containers: bool = False
    other_fields: tuple[str, ...] = ()

    @cached_property
    def detection(self) -> str:
        """The record of the alert's own detection; empty if the alert itself is it."""
        stated = next(iter(self.paths.get("mjd", ())), ())
        return stated[0] if len(stated) > 1 else ""

    @cached_property
    def nano_janskys(self) -> float:
        """How many a flux of 1 is."""
        return 1.0 if self.zero_point == AB_ZERO else flux_of(self.zero_point)

    @cached_property
    def states_flux(self) -> bool:
        """Whether it states fluxes, rather than magnitudes."""
        return "flux" in self.paths

    @cached_property
    def states_sign(self) -> bool:
        """Whether a field has the sign of what is stated without one."""
        return not self.paths.keys().isdisjoint(_SIGN)

    def sign(self, stated: Stated) -> float:
        """Return -1 if a field says that the source became fainter, else 1."""
        if self.states_sign:
            for name, fainter in (("positive", _FALSE), ("negative", _TRUE)):
                value = stated(name)
                if (value.strip().lower() if isinstance(value, str) else value) in fainter:
                    return -1.0
        return 1.0

    def flux(self, stated: Stated) -> float:
        """Return the flux of a measurement in the difference image, nJy, below 0 if it faded.

        :param stated: returns what the measurement states of a quantity.
        """
        if self.states_flux:
            flux = number(stated("flux")) * self.nano_janskys
        elif self.magnitude_system == "AB":
            flux = flux_of(number(stated("magnitude")))
        else:
            return math.nan
        return math.copysign(flux, self.sign(stated)) if self.states_sign else flux

    def flux_error(self, stated: Stated, flux: float) -> float:
        """Return one sigma of a measurement's flux, nJy."""
        if "flux_error" in self.paths:
            return number(stated("flux_error")) * self.nano_janskys
        return abs(flux) * number(stated("magnitude_error")) / MAGNITUDE_OF_E

    def middle(self, stated: Stated) -> float:
        """Return the middle of a measurement's exposure, MJD.

        If the survey states only the start, and no length, it is the start.
        """
        mjd = number(stated("mjd")) - self.mjd_zero
        return mjd + self.length(stated) / 2 / DAY if self.at == "start" else mjd

    def length(self, stated: Stated) -> float:
        """Return the length of a measurement's exposure, s; if it is not stated, the usual one."""
        length = number(stated("exposure_time"))
        return length if 0 <= length < math.inf else self.exposure

    def field_of(self, quantity: str, record: Container[str]) -> str:
        """Return the field of a measurement that is a quantity; empty if it has none."""
        names = (path[-1] for path in self.paths.get(quantity, ()))
        return next((name for name in names if name in record), "")

    def band_name(self, value: Any) -> str | None:
        """Return the name of a passband, given as the survey has it."""
        return self.bands.get(str(value), str(value)) if isinstance(value, int) else value

    def field_paths(self, names: Iterable[str]) -> set[str]:
        """Return the dotted paths to decode for quantities."""
        wanted = {*names}
        for name in wanted - self.paths.keys():
            wanted.update(_DERIVED_FROM.get(name, ()))
        for name in tuple(wanted):
            wanted.update(_ALSO_NEEDED.get(name, ()))
        paths = {".".join(path) for name in wanted for path in self.paths.get(name, ())}
        if "history" in wanted and self.detections:
            paths.add(f"{self.detections}.{self.detection_id}")
        return paths

    @cached_property
    def detection_id(self) -> str:
        """The id field of a detection, which upper limits lack."""
        return next(iter(self.paths.get("source_id", (("",),))))[-1]

    @cached_property
    def top_level(self) -> frozenset[str]:
        """The top-level fields that it names."""
        paths = (path for paths in self.paths.values() for path in paths)
        named = {*(path[0] for path in paths), *self.cutouts.values(), *self.other_fields}
        return frozenset(named | {self.detections, self.forced} - {""})


UNKNOWN = Survey("unknown")
"""The survey of alerts that no table recognises: they have fields, and no quantities."""


def flux_of(magnitude: float) -> float:
    """Return the flux of an AB magnitude, nJy; NaN beyond all that is physical."""
    try:
        return float(10 ** (0.4 * (AB_ZERO - magnitude)))
    except OverflowError:
        return math.nan


def number(value: Any) -> float:
    """Return a measured value; NaN if there is none.

    :raises TypeError, ValueError: it is not a number.
    """
    return math.nan if value is None else float(value)
