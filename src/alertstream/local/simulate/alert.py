"""A simulated alert: an object, through all visits, as the records of a schema version.

What programs and people look at is as in real alerts: ids, times, places, fluxes and their errors,
histories, cutouts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import fmean

import numpy as np

from alertstream.local.simulate.records import Records, Values
from alertstream.local.simulate.sky import (
    AB_ZERO,
    DEPTHS,
    DETECTORS,
    PIXEL,
    TAI_MINUS_UTC,
    Field,
    Object,
    Place,
    Visit,
)

PROCESSING = 45 / 86400
"""Days from an exposure to its sources."""
OTHER_MEASUREMENTS = """
ra_dec_Cov psfLnL psfChi2 bboxSize extendedness trailAlgorithm ixy ixyPSF
trailFlux trailFluxErr trailRa trailRaErr trailDec trailDecErr trailLength trailLengthErr
trailAngle trailAngleErr trailChi2 trailNdata dipoleMeanFlux dipoleMeanFluxErr
dipoleFluxDiff dipoleFluxDiffErr dipoleRa dipoleRaErr dipoleDec dipoleDecErr dipoleLength
dipoleAngle dipoleChi2 dipoleNdata psfRa psfRaErr psfDec psfDecErr
"""
"""Fields of a source that are 1 in all of them."""


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
        visit, moves = self.field.visit, self.thing.kind == "moving"
        now = self._source(visit, self.place, flux)
        sources = [*map(self._earlier_source, self._seen(earlier)), now]
        first = sources[0]
        link = {"ssObjectId" if moves else "diaObjectId": first["diaSourceId"]}
        for source in sources:
            source |= link
        forced = [] if moves else self._forced(first)
        values: Values = {
            "diaSourceId": now["diaSourceId"],
            "observation_reason": f"pairs_{visit.band}",
            "target_name": "wide-fast-deep",
            "diaSource": records.filled("diaSource", now | self._unmeasured(records.unmeasured)),
            "prvDiaSources": _all_filled(records, "diaSource", sources[:-1]),
            "prvDiaForcedSources": _all_filled(records, "diaForcedSource", forced),
            **cutouts,
        }
        if moves:
            orbiting = self._orbiting(now)
            for record in ("ssObject", "ssSource", "mpc_orbits", "MPCORB"):
                values[record] = records.filled(record, orbiting)
        else:
            values["diaObject"] = records.filled("diaObject", _summary(sources, forced))
        return records.filled("alert", values) or {}

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
        error, processed = visit.error(self.thing.template + flux), visit.mjd + PROCESSING
        return {
            "visit": visit.id,
            "ccdVisitId": visit.id * 1000 + detector,
            "detector": detector,
            "band": visit.band,
            "midpointMjdTai": visit.mjd,
            "timeProcessedMjdTai": round(processed, 9),
            "time_processed": _microseconds(processed),
            "psfFlux": flux,
            "psfFluxErr": error,
            "scienceFlux": self.template + flux,
            "scienceFluxErr": error * 12 / 13,
            "programId": 1,
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
        snr, noise, doubt = abs(flux) / error, rng.gauss(0, 1), rng.betavariate(1.3, 9)
        blur, moment = visit.sigma / max(snr, 1), 0.04 * visit.sigma**2
        return {
            **dict.fromkeys(OTHER_MEASUREMENTS.split(), 1),
            **self._common(visit, place.detector, flux),
            "diaSourceId": visit.source_id(place.detector, self.counter),
            "exposureTime": 30.0,
            "ra": place.ra,
            "dec": place.dec,
            "raErr": blur * PIXEL,
            "decErr": blur * PIXEL,
            "x": place.x,
            "y": place.y,
            "xErr": blur,
            "yErr": blur,
            "snr": snr,
            "isNegative": flux < 0,
            "psfNdata": int(50 * visit.sigma**2),
            "apFlux": flux + 1.6 * error * noise,
            "apFluxErr": 1.9 * error,
            "templateFlux": self.template,
            "templateFluxErr": error * 5 / 13,
            "ixx": moment * (1 + 0.03 * noise),
            "iyy": moment * (1 - 0.03 * noise),
            "ixxPSF": moment,
            "iyyPSF": moment,
            "isDipole": artefact,
            "dipoleFitAttempted": True,
            "reliability": doubt if artefact else 1 - doubt,
            "reliabilityVersion": "simulated",
        }

    def _orbiting(self, source: Values) -> Values:
        """Return what an alert says of a moving object: an asteroid of the main belt."""
        rng = self.rng
        letter, cycle = rng.choice("ABCDEFGHJKLMNOPQRSTUVWXYZ"), rng.randrange(10, 100)
        packed, designation = f"K14Q{cycle}{letter}", f"2014 Q{letter}{cycle}"
        near, axis, eccentricity = rng.uniform(1.2, 2.5), rng.uniform(2.1, 3.3), rng.random() / 4
        magnitude = AB_ZERO - 2.5 * math.log10(self.thing.flux)
        return {
            "ssObjectId": source["ssObjectId"],
            "diaSourceId": source["diaSourceId"],
            "id": self.counter % 2**31,
            "designation": designation,
            "unpacked_primary_provisional_designation": designation,
            "packed_primary_provisional_designation": packed,
            "mpcDesignation": packed,
            "topoRange": near,
            "helioRange": near + 0.9,
            "ephRa": self.place.ra,
            "ephDec": self.place.dec,
            "ephOffset": 0.0,
            "ephRateRa": self.thing.motion[0],
            "ephRateDec": self.thing.motion[1],
            "ephRate": math.hypot(*self.thing.motion),
            "ephVmag": magnitude,
            "a": axis,
            "e": eccentricity,
            "q": axis * (1 - eccentricity),
            "i": rng.uniform(0, 20),
            "epoch_mjd": 61000.0,
            "h": magnitude - 5 * math.log10(near * (near + 0.9)),
        }

    def _unmeasured(self, missing: float | None) -> Values:
        """Return what a few measurements in a hundred lack, as in real streams."""
        nothing: Values = {}
        no_flux = {"psfFlux": math.nan, "psfFluxErr": math.nan, "psfFlux_flag": True}
        neither = {"psfFlux": missing, "psfFluxErr": missing, "snr": missing}
        choices = (nothing, no_flux, {"snr": missing}, neither)
        return self.rng.choices(choices, weights=(97, 1, 1, 1))[0]


def _all_filled(records: Records, record: str, found: Iterable[Values]) -> list[Values] | None:
    filled = [records.filled(record, values) for values in found]
    return [each for each in filled if each is not None] or None


def _microseconds(mjd: float) -> int:
    """Return a time in MJD (TAI) as microseconds since 1970 (UTC)."""
    return round((mjd - 40587) * 86400 - TAI_MINUS_UTC.total_seconds()) * 1_000_000


def _summary(sources: Sequence[Values], forced: Sequence[Values]) -> Values:
    """Return the diaObject that its sources, oldest first, and forced fluxes make up."""
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
        "validityStart": last["time_processed"],
    }
    for band in DEPTHS:
        seen = [source for source in sources if source["band"] == band]
        there = [source for source in forced if source["band"] == band]
        values |= _statistics(f"{band}_psfFlux", seen, "psfFlux")
        values |= _statistics(f"{band}_fpFlux", there, "psfFlux")
        values |= _statistics(f"{band}_scienceFlux", there, "scienceFlux")
    return values


def _statistics(name: str, measurements: Sequence[Values], flux: str) -> Values:
    if not measurements:
        return {f"{name}Ndata": 0}
    fluxes = [values[flux] for values in measurements]
    error = fmean(values[f"{flux}Err"] for values in measurements)
    return {
        f"{name}Ndata": len(fluxes),
        f"{name}Mean": fmean(fluxes),
        f"{name}MeanErr": error / math.sqrt(len(fluxes)),
        f"{name}ErrMean": error,
        f"{name}Sigma": float(np.std(fluxes, ddof=1)) if len(fluxes) > 1 else None,
        f"{name}Min": min(fluxes),
        f"{name}Max": max(fluxes),
    }
