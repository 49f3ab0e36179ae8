"""A simulated alert: an object, through all visits, as the records of a schema version."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import fmean
from typing import Any

from alertstream.avro.schema_tree import Schema, tree, walk
from alertstream.errors import SchemaError
from alertstream.local.simulate.sky import (
    AB_ZERO,
    DEPTHS,
    DETECTORS,
    ECLIPTIC,
    GALACTIC,
    PIXEL,
    TAI,
    Field,
    Object,
    Place,
    Visit,
    turned,
)

Values = dict[str, Any]

# Names of versions before 8, and the name that means the same today.
_TODAY = {
    "alertId": "diaSourceId",
    "psFlux": "psfFlux",
    "psFluxErr": "psfFluxErr",
    "totFlux": "scienceFlux",
    "totFluxErr": "scienceFluxErr",
    "midPointTai": "midpointMjdTai",
    "radecTai": "lastDiaSourceMjdTai",
    "radecMjdTai": "lastDiaSourceMjdTai",
    "filterName": "band",
    "decl": "dec",
    "declErr": "decErr",
    "is_negative": "isNegative",
    "eclipticLambda": "eclLambda",
    "eclipticBeta": "eclBeta",
    "galacticL": "galLon",
    "galacticB": "galLat",
    "topocentricDist": "topoRange",
    "heliocentricDist": "helioRange",
}


class Forms:
    """The records of one schema version, filled by field name."""

    def __init__(self, schema: Schema) -> None:
        self._fields: dict[str, list[tuple[str, str, Any]]] = {}
        self._needed: dict[str, frozenset[str]] = {}
        for record in walk(tree(schema)):
            if record.kind == "record":
                self._fields[record.short_name] = [
                    (name, _TODAY.get(name, name), False if "boolean" in kind.schema else None)
                    for name, kind, _ in record.fields
                ]
                self._needed[record.short_name] = frozenset(
                    _TODAY.get(name, name)
                    for name, kind, _ in record.fields
                    if "null" not in kind.schema
                )
        if not self._fields.keys() >= {"alert", "diaSource"}:
            raise SchemaError("not a schema of LSST alerts")

    def fit(self, record: str, values: Values) -> Values | None:
        """Return ``values`` as this version's ``record``; None where it has no such record."""
        if record not in self._fields:
            return None
        if missing := self._needed[record] - values.keys():
            raise SchemaError(f"no simulated alert has {record}.{min(missing)}")
        return {name: values.get(today, gap) for name, today, gap in self._fields[record]}

    def unmeasured(self) -> float | None:
        """Return what stands for a value that could not be measured: null, before 6.0 NaN."""
        return math.nan if "snr" in self._needed.get("diaSource", ()) else None


@dataclass(frozen=True)
class Story:
    """One alert's object through all visits: what is the same wherever it is measured."""

    rng: Random
    field: Field
    thing: Object
    place: Place
    template: float
    counter: int

    def alert(self, forms: Forms, earlier: int, flux: float, cutouts: Values) -> Values:
        """Return the alert of a flux change of ``flux`` nJy now, seen ``earlier`` times before."""
        visit = self.field.visit
        now = self._source(visit, self.place, flux)
        sources = [self._earlier_source(then) for then in self._seen(earlier)]
        first, moves = (sources or [now])[0], self.thing.kind == "moving"
        link = {"ssObjectId" if moves else "diaObjectId": first["diaSourceId"]}
        for source in (*sources, now):
            source |= link
        forced = [] if moves else self._forced(first)
        values: Values = {
            "diaSourceId": now["diaSourceId"],
            "observation_reason": f"pairs_{visit.band}",
            "target_name": "wide-fast-deep",
            "diaSource": forms.fit("diaSource", now | _blemish(self.rng, forms.unmeasured())),
            "prvDiaSources": [forms.fit("diaSource", source) for source in sources] or None,
            "prvDiaForcedSources": [forms.fit("diaForcedSource", f) for f in forced] or None,
            **cutouts,
        }
        if moves:
            orbiting = self._orbiting(now)
            for record in ("ssObject", "ssSource", "mpc_orbits", "MPCORB"):
                values[record] = forms.fit(record, orbiting)
        else:
            values["diaObject"] = forms.fit("diaObject", _summary([*sources, now], forced))
        return forms.fit("alert", values) or {}

    def _seen(self, count: int) -> list[Visit]:
        """Return the ``count`` earlier visits in which the object stood out most, oldest first."""

        def dimness(visit: Visit) -> float:
            return -abs(self.thing.curve(visit.mjd)) / visit.sky_error

        return sorted(sorted(self.field.earlier, key=dimness)[:count], key=lambda v: v.mjd)

    def _measured(self, visit: Visit) -> float:
        true = self.thing.flux * self.thing.curve(visit.mjd)
        return true + visit.error(self.thing.template + true) * self.rng.gauss(0, 1)

    def _earlier_source(self, then: Visit) -> Values:
        """Return the object as it was seen ``then``, on another detector: telescopes dither."""
        flux, days = self._measured(then), then.mjd - self.field.visit.mjd
        scatter = then.sigma * PIXEL / max(abs(flux) / then.sky_error, 3)
        east, north = (speed * days + self.rng.gauss(0, scatter) for speed in self.thing.motion)
        ra = round((self.place.ra + east / math.cos(math.radians(self.place.dec))) % 360, 9)
        elsewhere = self.field.place(self.rng)
        there = replace(elsewhere, ra=ra, dec=round(self.place.dec + north, 9))
        return self._source(then, there, flux)

    def _common(self, visit: Visit, detector: int, flux: float) -> Values:
        """Return what sources and forced sources have in common."""
        error = visit.error(self.thing.template + flux)
        return {
            "visit": visit.id,
            "ccdVisitId": visit.id * 1000 + detector,
            "detector": detector,
            "band": visit.band,
            "midpointMjdTai": visit.mjd,
            "timeProcessedMjdTai": round(visit.mjd + 45 / 86400, 9),
            "time_processed": _microseconds(visit.mjd + 45 / 86400),
            "psfFlux": flux,
            "psfFluxErr": error,
            "scienceFlux": self.template + flux,
            "scienceFluxErr": error * 12 / 13,
            "programId": 1,
            "flags": 0,
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
        error = visit.error(self.thing.template + flux)
        snr = abs(flux) / error
        blur, noise, doubt = visit.sigma / max(snr, 1), rng.gauss(0, 1), rng.betavariate(1.3, 9)
        moment, pixels = 0.04 * visit.sigma**2, int(50 * visit.sigma**2)
        errors = ("ra", "dec", "psfRa", "psfDec", "trailRa", "trailDec", "dipoleRa", "dipoleDec")
        return {
            **self._common(visit, place.detector, flux),
            "diaSourceId": visit.source_id(place.detector, self.counter),
            "exposureTime": 30.0,
            **dict.fromkeys(("ra", "psfRa", "trailRa", "dipoleRa"), place.ra),
            **dict.fromkeys(("dec", "psfDec", "trailDec", "dipoleDec"), place.dec),
            **dict.fromkeys([f"{name}Err" for name in errors], blur * PIXEL),
            **dict.fromkeys(("psfNdata", "trailNdata", "dipoleNdata"), pixels),
            **dict.fromkeys(("ixxPSF", "iyyPSF"), moment),
            **dict.fromkeys(("xErr", "yErr"), blur),
            "ra_dec_Cov": 0.05 * noise * (blur * PIXEL) ** 2,
            "x": place.x,
            "y": place.y,
            "snr": snr,
            "isNegative": flux < 0,
            "psfLnL": -0.5 * pixels,
            "psfChi2": pixels + math.sqrt(2 * pixels) * noise,
            "apFlux": flux + 1.6 * error * noise,
            "apFluxErr": 1.9 * error,
            "trailFlux": flux + 0.3 * error * noise,
            "trailFluxErr": 1.1 * error,
            "trailLength": 0.2 * blur * abs(noise),
            "trailLengthErr": 0.2 * blur,
            "trailAngle": rng.uniform(-180, 180),
            "trailAngleErr": 60.0,
            "trailChi2": pixels - 3.0,
            "trailAlgorithm": 1,
            "dipoleMeanFlux": self.thing.template if artefact else abs(flux) / 2,
            "dipoleMeanFluxErr": error,
            "dipoleFluxDiff": flux,
            "dipoleFluxDiffErr": 1.4 * error,
            "dipoleLength": 0.2 if artefact else 0.2 * blur,
            "dipoleAngle": rng.uniform(0, 360),
            "dipoleChi2": pixels - 5.0 + noise,
            "isDipole": artefact,
            "dipoleFitAttempted": True,
            "templateFlux": self.template,
            "templateFluxErr": error * 5 / 13,
            "ixx": moment * (1 + 0.03 * noise),
            "iyy": moment * (1 - 0.03 * noise),
            "ixy": moment * 0.02 * noise,
            "ixyPSF": 0.0,
            "extendedness": rng.betavariate(1, 8),
            "reliability": doubt if artefact else 1 - doubt,
            "reliabilityVersion": "simulated",
            "bboxSize": int(8 * visit.sigma) + 2 * int(math.log1p(snr)),
        }

    def _orbiting(self, source: Values) -> Values:
        """Return what an alert says of a moving object: an asteroid of the main belt."""
        rng, ra, dec = self.rng, self.place.ra, self.place.dec
        letter, cycle = rng.choice("ABCDEFGHJKLMNOPQRSTUVWXYZ"), rng.randrange(10, 100)
        packed, designation = f"K14Q{cycle}{letter}", f"2014 Q{letter}{cycle}"
        ecliptic, galactic = turned(ra, dec, *ECLIPTIC), turned(ra, dec, *GALACTIC)
        # The mean sun is within 2 degrees of the true one.
        away = ecliptic[0] - 280.46 - 0.9856474 * (source["midpointMjdTai"] - 51544.5)
        cosine = math.cos(math.radians(ecliptic[1])) * math.cos(math.radians(away))
        near, axis, eccentricity = rng.uniform(1.2, 2.5), rng.uniform(2.1, 3.3), rng.random() / 4
        far = math.sqrt(1 + near * near - 2 * near * cosine)
        phase = math.acos((near - cosine) / far)
        magnitude = AB_ZERO - 2.5 * math.log10(self.thing.flux)
        east, north = self.thing.motion
        return {
            "ssObjectId": source["ssObjectId"],
            "diaSourceId": source["diaSourceId"],
            "flags": 0,
            "id": self.counter % 2**31,
            "designation": designation,
            "unpacked_primary_provisional_designation": designation,
            "packed_primary_provisional_designation": packed,
            "mpcDesignation": packed,
            "eclLambda": ecliptic[0],
            "eclBeta": ecliptic[1],
            "galLon": galactic[0],
            "galLat": galactic[1],
            "topoRange": near,
            "helioRange": far,
            "elongation": math.degrees(math.acos(cosine)),
            "phaseAngle": math.degrees(phase),
            "ephRa": ra,
            "ephDec": dec,
            "ephOffset": 0.0,
            "ephRateRa": east,
            "ephRateDec": north,
            "ephRate": math.hypot(east, north),
            "ephVmag": magnitude,
            "diaDistanceRank": 1,
            "a": axis,
            "e": eccentricity,
            "q": axis * (1 - eccentricity),
            "i": rng.uniform(0, 20),
            "node": rng.uniform(0, 360),
            "argperi": rng.uniform(0, 360),
            "mean_anomaly": rng.uniform(0, 360),
            "epoch_mjd": 61000.0,
            "h": magnitude - 5 * math.log10(near * far),
        }


def _microseconds(mjd: float) -> int:
    """Return a time in MJD (TAI) as microseconds since 1970 (UTC)."""
    return round((mjd - 40587) * 86400 - TAI.total_seconds()) * 1_000_000


def _blemish(rng: Random, unmeasured: float | None) -> Values:
    """Return what a few measurements in a hundred lack, as in real streams."""
    nothing: Values = {}
    no_flux = {"psfFlux": math.nan, "psfFluxErr": math.nan, "psfFlux_flag": True}
    neither = {"psfFlux": unmeasured, "psfFluxErr": unmeasured, "snr": unmeasured}
    choices = (nothing, no_flux, {"snr": unmeasured}, neither)
    return rng.choices(choices, weights=(97, 1, 1, 1))[0]


def _summary(sources: Sequence[Values], forced: Sequence[Values]) -> Values:
    """Return the diaObject that its sources, oldest first, and forced fluxes make up."""
    first, last = sources[0], sources[-1]
    values: Values = {
        "diaObjectId": first["diaSourceId"],
        "ra": last["ra"],
        "dec": last["dec"],
        "raErr": last["raErr"] / math.sqrt(len(sources)),
        "decErr": last["decErr"] / math.sqrt(len(sources)),
        "ra_dec_Cov": 0.0,
        "flags": 0,
        "nDiaSources": len(sources),
        "firstDiaSourceMjdTai": first["midpointMjdTai"],
        "lastDiaSourceMjdTai": last["midpointMjdTai"],
        "validityStartMjdTai": last["timeProcessedMjdTai"],
        "validityStart": last["time_processed"],
    }
    for band in DEPTHS:
        seen = [source for source in sources if source["band"] == band]
        values |= _statistics(f"{band}_psfFlux", seen, "psfFlux")
        values |= _extremes(f"{band}_psfFlux", seen)
        there = [flux for flux in forced if flux["band"] == band]
        values |= _statistics(f"{band}_fpFlux", there, "psfFlux")
        values |= _statistics(f"{band}_scienceFlux", there, "scienceFlux")
    return values


def _statistics(name: str, measurements: Sequence[Values], flux: str) -> Values:
    count = len(measurements)
    if not count:
        return {f"{name}Ndata": 0}
    mean = fmean(values[flux] for values in measurements)
    error = fmean(values[f"{flux}Err"] for values in measurements)
    squares = math.fsum((values[flux] - mean) ** 2 for values in measurements)
    return {
        f"{name}Ndata": count,
        f"{name}Mean": mean,
        f"{name}MeanErr": error / math.sqrt(count),
        f"{name}ErrMean": error,
        f"{name}Sigma": math.sqrt(squares / (count - 1)) if count > 1 else None,
    }


def _extremes(name: str, sources: Sequence[Values]) -> Values:
    if len(sources) < 2:
        return {}
    fluxes = [source["psfFlux"] for source in sources]
    times = [source["midpointMjdTai"] for source in sources]
    steps = zip(fluxes, fluxes[1:], times, times[1:], strict=False)
    slope = max((after - before) / (end - start) for before, after, start, end in steps)
    return {f"{name}Min": min(fluxes), f"{name}Max": max(fluxes), f"{name}MaxSlope": slope}
