"""A simulated alert: an object, through all visits, as the records of any LSST schema version.

What programs and people look at is as in real alerts: ids, times, places, fluxes and their errors,
histories, cutouts. The rest is there, and says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from random import Random
from statistics import fmean
from typing import Any

from alertstream.alert.surveys.survey import AB_ZERO, DAY
from alertstream.avro.schema_tree import Type, tree, walk
from alertstream.avro.schemas import Schema
from alertstream.errors import SchemaError
from alertstream.local.simulate.sky import DEPTHS, DETECTORS, PIXEL, Field, Object, Place, Visit

Values = dict[str, Any]

PROCESSING = 45 / DAY
"""Days from an exposure to its sources."""
_TODAY = {
    "alertId": "diaSourceId",
    "psFlux": "psfFlux",
    "psFluxErr": "psfFluxErr",
    "midPointTai": "midpointMjdTai",
    "filterName": "band",
    "decl": "dec",
    "declErr": "decErr",
    "is_negative": "isNegative",
}
"""Names of versions before 8, and the name that means the same today."""
_LEAST: dict[str, Any] = {"boolean": False, "string": "", "bytes": b"", "array": [], "map": {}}


class Records:
    """The record types of one schema version.

    :raises SchemaError: it is not a schema of LSST alerts.
    """

    def __init__(self, schema: Schema) -> None:
        types = {each.short_name: each for each in walk(tree(schema)) if each.fields}
        if not types.keys() >= {"alert", "diaSource"}:
            raise SchemaError("not a schema of LSST alerts")
        self._fields = {
            name: [
                (field.name, _TODAY.get(field.name, field.name), _blank(field.type, name))
                for field in record.fields
            ]
            for name, record in types.items()
        }
        snr = next(field.type for field in types["diaSource"].fields if field.name == "snr")
        self.unmeasured = None if snr.kind == "union" else math.nan
        """What stands for a value that could not be measured: null, before 6.0 NaN."""

    def filled(self, record: str, values: Values) -> Values | None:
        """Return ``values`` under today's names as this version's ``record``; None if it has none.

        What is not among them is the least that its type allows.
        """
        if record not in self._fields:
            return None
        return {name: values.get(today, blank) for name, today, blank in self._fields[record]}

    def all_filled(self, record: str, found: Iterable[Values]) -> list[Values | None] | None:
        """Return several records; None if there are none."""
        return [self.filled(record, values) for values in found] or None


def _blank(node: Type, record: str = "") -> Any:
    """Return the least that a type can hold; a ``diaSource`` has 1 rather than null numbers."""
    if node.kind == "union":
        kinds = {each.kind for each in node.inside}
        if "boolean" in kinds:
            return False
        if record == "diaSource" and kinds & {"float", "int"}:
            return 1
        return None if "null" in kinds else _blank(node.inside[0])
    if node.kind == "record":
        return {field.name: _blank(field.type) for field in node.fields}
    if node.kind == "enum":
        return node.schema["symbols"][0]
    if node.kind == "fixed":
        return bytes(node.schema["size"])
    return _LEAST.get(node.kind, 0)


@dataclass(frozen=True)
class History:
    """An alert's object through all visits.

    :param template: PSF flux in the template, nJy.
    :param counter: makes the ids of its sources unique.
    """

    rng: Random
    field: Field
    thing: Object
    place: Place
    template: float
    counter: int

    def alert(
        self, records: Records, earlier: int, flux: float, cutouts: Mapping[str, bytes]
    ) -> Values:
        """Return the alert of a flux change of ``flux`` nJy now, seen ``earlier`` times before."""
        moves = self.thing.kind == "moving"
        now = self._source(self.field.visit, self.place, flux)
        sources = [*map(self._earlier_source, self._seen(earlier)), now]
        for source in sources:
            source["ssObjectId" if moves else "diaObjectId"] = sources[0]["diaSourceId"]
        forced = [] if moves else self._forced(sources[0])
        values = {
            "diaSourceId": now["diaSourceId"],
            "diaSource": records.filled("diaSource", now | self._unmeasured(records.unmeasured)),
            "prvDiaSources": records.all_filled("diaSource", sources[:-1]),
            "prvDiaForcedSources": records.all_filled("diaForcedSource", forced),
            **cutouts,
        }
        if moves:
            orbiting = self._orbiting(now)
            for record in ("ssObject", "ssSource", "mpc_orbits", "MPCORB"):
                values[record] = records.filled(record, orbiting)
        else:
            values["diaObject"] = records.filled("diaObject", _summary(sources))
        return records.filled("alert", values) or {}

    def _seen(self, count: int) -> list[Visit]:
        """Return the ``count`` earlier visits in which the object stood out most, oldest first."""
        curve = self.thing.curve
        most = nlargest(count, self.field.earlier, lambda v: abs(curve(v.mjd)) / v.sky_error)
        return sorted(most, key=lambda v: v.mjd)

    def _measured(self, visit: Visit) -> float:
        true = self.thing.flux * self.thing.curve(visit.mjd)
        return true + visit.error(self.thing.template + true) * self.rng.gauss(0, 1)

    def _earlier_source(self, then: Visit) -> Values:
        """Return the object as it was seen ``then``, on another detector: telescopes dither."""
        flux, days = self._measured(then), then.mjd - self.field.visit.mjd
        scatter = then.sigma * PIXEL / max(abs(flux) / then.sky_error, 3)
        east, north = (speed * days + self.rng.gauss(0, scatter) for speed in self.thing.motion)
        ra = round((self.place.ra + east / math.cos(math.radians(self.place.dec))) % 360, 9)
        dec = round(self.place.dec + north, 9)
        return self._source(then, self.field.place(self.rng)._replace(ra=ra, dec=dec), flux)

    def _common(self, visit: Visit, detector: int, flux: float) -> Values:
        """Return what sources and forced sources have in common."""
        error = visit.error(self.thing.template + flux)
        return {
            "visit": visit.id,
            "ccdVisitId": visit.id * 1000 + detector,
            "detector": detector,
            "band": visit.band,
            "midpointMjdTai": visit.mjd,
            "timeProcessedMjdTai": round(visit.mjd + PROCESSING, 9),
            "psfFlux": flux,
            "psfFluxErr": error,
            "scienceFlux": self.template + flux,
            "scienceFluxErr": error * 12 / 13,
        }

    def _forced(self, first: Values) -> list[Values]:
        """Return the forced fluxes of every earlier visit since the object was first seen."""
        forced = []
        for visit in self.field.earlier:
            if visit.mjd >= first["midpointMjdTai"]:
                detector = self.rng.randrange(DETECTORS)
                values = self._common(visit, detector, self._measured(visit))
                values["diaForcedSourceId"] = visit.source_id(detector, self.counter)
                values["diaObjectId"] = first["diaSourceId"]
                forced.append(values | {"ra": self.place.ra, "dec": self.place.dec})
        return forced

    def _source(self, visit: Visit, place: Place, flux: float) -> Values:
        """Return a diaSource under today's names, without the object it belongs to."""
        rng, artefact = self.rng, self.thing.kind == "artefact"
        common = self._common(visit, place.detector, flux)
        error = common["psfFluxErr"]
        snr, noise, doubt = abs(flux) / error, rng.gauss(0, 1), rng.betavariate(1.3, 9)
        blur = visit.sigma / max(snr, 1) * PIXEL
        return {
            **common,
            **place._asdict(),
            "diaSourceId": visit.source_id(place.detector, self.counter),
            "exposureTime": 30.0,
            "raErr": blur,
            "decErr": blur,
            "snr": snr,
            "isNegative": flux < 0,
            "apFlux": flux + 1.6 * error * noise,
            "apFluxErr": 1.9 * error,
            "templateFlux": self.template,
            "templateFluxErr": error * 5 / 13,
            "ixxPSF": 0.04 * visit.sigma**2,
            "isDipole": artefact,
            "reliability": doubt if artefact else 1 - doubt,
        }

    def _orbiting(self, source: Values) -> Values:
        """Return what an alert says of a moving object: an asteroid of the main belt."""
        rng = self.rng
        letter, cycle = rng.choice("ABCDEFGHJKLMNOPQRSTUVWXYZ"), rng.randrange(10, 100)
        near, axis, eccentricity = rng.uniform(1.2, 2.5), rng.uniform(2.1, 3.3), rng.random() / 4
        magnitude = AB_ZERO - 2.5 * math.log10(self.thing.flux)
        return {
            "ssObjectId": source["ssObjectId"],
            "diaSourceId": source["diaSourceId"],
            "designation": f"2014 Q{letter}{cycle}",
            "mpcDesignation": f"K14Q{cycle}{letter}",
            "topoRange": near,
            "helioRange": near + 0.9,
            "ephRa": self.place.ra,
            "ephDec": self.place.dec,
            "ephVmag": magnitude,
            "a": axis,
            "e": eccentricity,
            "q": axis * (1 - eccentricity),
            "i": rng.uniform(0, 20),
            "h": magnitude - 5 * math.log10(near * (near + 0.9)),
        }

    def _unmeasured(self, missing: float | None) -> Values:
        """Return what a few measurements in a hundred lack, as in real streams."""
        nothing: Values = {}
        no_flux = {"psfFlux": math.nan, "psfFluxErr": math.nan, "psfFlux_flag": True}
        neither = {"psfFlux": missing, "psfFluxErr": missing, "snr": missing}
        choices = (nothing, no_flux, {"snr": missing}, neither)
        return self.rng.choices(choices, weights=(97, 1, 1, 1))[0]


def _summary(sources: Sequence[Values]) -> Values:
    """Return the diaObject that its sources, oldest first, make up."""
    first, last = sources[0], sources[-1]
    values: Values = {
        "diaObjectId": first["diaSourceId"],
        "ra": last["ra"],
        "dec": last["dec"],
        "raErr": last["raErr"] / math.sqrt(len(sources)),
        "decErr": last["decErr"] / math.sqrt(len(sources)),
        "nDiaSources": len(sources),
        "firstDiaSourceMjdTai": first["midpointMjdTai"],
        "lastDiaSourceMjdTai": last["midpointMjdTai"],
        "validityStartMjdTai": last["timeProcessedMjdTai"],
    }
    for band in DEPTHS:
        fluxes = [source["psfFlux"] for source in sources if source["band"] == band]
        values[f"{band}_psfFluxNdata"] = len(fluxes)
        values[f"{band}_psfFluxMean"] = fmean(fluxes) if fluxes else None
    return values
