"""What a simulated telescope sees: visits, places in its field, and what changes there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from random import Random
from typing import NamedTuple

from alertstream.alert.surveys.survey import MJD_EPOCH, TAI_MINUS_UTC, flux_of

SLOT = timedelta(seconds=39)
"""From one visit to the next."""
PIXEL = 0.2 / 3600
"""Degrees."""
DETECTORS = 189
FIELD_RADIUS = 1.75
"""Degrees."""
DEPTHS = {"u": 23.9, "g": 25.0, "r": 24.7, "i": 24.0, "z": 23.3, "y": 22.1}
"""Five-sigma depths of a visit, AB magnitude (Ivezić et al. 2019, table 2)."""
KINDS = {"variable": 45, "supernova": 12, "flare": 8, "moving": 10, "artefact": 25}
"""Kinds of objects, and how many of a hundred are of each."""
ELECTRONS_PER_NJY = 1.9
"""A star of AB magnitude 20 gives some 69,000 electrons in a visit of 30 s."""


def visit_id(when: datetime) -> tuple[int, int]:
    """Return the visit's id YYYYMMDDnnnnn, and its number among all years' slots, of 26 bits."""
    noon = datetime.combine((when - timedelta(hours=12)).date(), time(12), UTC)
    slot = (when - noon) // SLOT
    days = (noon - datetime(2010, 1, 1, 12, tzinfo=UTC)).days
    return int(f"{noon:%Y%m%d}{slot:05}"), days << 12 | slot


class Visit(NamedTuple):
    """An exposure: its middle in MJD (TAI), PSF sigma in pixels, sky noise of a PSF flux in nJy."""

    id: int
    slot: int
    mjd: float
    band: str
    sigma: float
    sky_error: float

    @classmethod
    def drawn(cls, rng: Random, when: datetime) -> Visit:
        """Draw an exposure with its middle at a time."""
        band = rng.choices("ugrizy", weights=(7, 9, 22, 22, 20, 20))[0]
        mjd = round((when + TAI_MINUS_UTC - MJD_EPOCH) / timedelta(days=1), 9)
        sigma, depth = rng.uniform(1.4, 2.2), DEPTHS[band] + rng.gauss(0, 0.15)
        return cls(*visit_id(when), mjd, band, sigma, flux_of(depth) / 5)

    def source_id(self, detector: int, counter: int) -> int:
        """Return an id of 63 bits: 26 for the time, 8 for the detector, 29 for the counter."""
        return (self.slot << 8 | detector) << 29 | counter

    def error(self, flux: float) -> float:
        """Return one sigma of the PSF flux of a star of ``flux`` nJy, fitted with equal weights."""
        return math.sqrt(self.sky_error**2 + 4 / 3 * max(flux, 0) / ELECTRONS_PER_NJY)


class Place(NamedTuple):
    """Where a source is: on the sky in degrees, on its detector in pixels."""

    ra: float
    dec: float
    detector: int
    x: float
    y: float


@dataclass(frozen=True)
class Field:
    """A pointing: its centre in degrees, its rotation in radians, the share of bright stars."""

    visit: Visit
    earlier: Sequence[Visit]
    ra: float
    dec: float
    rotation: float
    bright: float

    @classmethod
    def drawn(cls, rng: Random, when: datetime, longest_history: int) -> Field:
        """Draw a pointing at a time, and enough earlier visits for the longest history."""
        visit = Visit.drawn(rng, when)
        # Telescopes look where it is high: near the meridian of Cerro Pachón, 70.75° west.
        sidereal = 280.46 + 360.985647 * (visit.mjd - 51544.5) - 70.75
        most = longest_history + longest_history // 4
        days = rng.sample(range(1, max(366, most + 1)), most)
        nights = [when - timedelta(days=day, hours=rng.uniform(-2, 2)) for day in days]
        return cls(
            visit=visit,
            earlier=[Visit.drawn(rng, night) for night in sorted(nights)],
            ra=(sidereal + rng.uniform(-40, 40)) % 360,
            dec=rng.uniform(-65, 2),
            rotation=rng.uniform(0, math.tau),
            # Few fields are in the Milky Way.
            bright=0.2 + 0.5 * rng.random() ** 3,
        )

    def place(self, rng: Random) -> Place:
        """Draw a place anywhere in the field."""
        distance = math.radians(FIELD_RADIUS * math.sqrt(rng.random()))
        direction, dec = rng.uniform(0, math.tau), math.radians(self.dec)
        sine = math.sin(dec) * math.cos(distance)
        sine += math.cos(dec) * math.sin(distance) * math.cos(direction)
        turn = math.atan2(
            math.sin(direction) * math.sin(distance) * math.cos(dec),
            math.cos(distance) - math.sin(dec) * sine,
        )
        # Mathematical libraries differ in the last digit.
        ra = round((self.ra + math.degrees(turn)) % 360, 9)
        dec = round(math.degrees(math.asin(sine)), 9)
        detector = rng.randrange(DETECTORS)
        return Place(ra, dec, detector, x=rng.uniform(0, 4072), y=rng.uniform(0, 4000))


@dataclass(frozen=True)
class Object:
    """What changed: true flux change now and flux in the template, nJy; motion, deg a day."""

    kind: str
    flux: float
    template: float
    curve: Callable[[float], float]
    motion: tuple[float, float]

    @classmethod
    def drawn(cls, rng: Random, field: Field, earlier: int) -> Object:
        """Draw what changed, and was seen in so many earlier visits."""
        now = field.visit.mjd
        kind = rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
        size = field.visit.sky_error * min(3.8 * rng.paretovariate(1.3), 150)
        if kind != "supernova" and rng.random() < field.bright:
            size = flux_of(rng.uniform(16.8, 20))
        fades = kind in ("variable", "artefact") and rng.random() < 0.35
        constant = {"supernova": 0.0, "moving": 0.0, "flare": 0.3, "artefact": 6.0}.get(kind, 2.5)
        since = field.earlier[-earlier].mjd - 1 if earlier else now - 2
        motion = (rng.uniform(-0.3, 0.3), rng.uniform(-0.03, 0.03))
        return cls(
            kind=kind,
            flux=-size if fades else size,
            template=size * constant * rng.uniform(0.6, 1.6),
            curve=_light_curve(rng, kind, now, since),
            motion=motion if kind == "moving" else (0, 0),
        )


def _light_curve(rng: Random, kind: str, now: float, since: float) -> Callable[[float], float]:
    """Return the flux change at a time (MJD) in units of that ``now``; a supernova is 0 before."""
    turn = math.tau / 10 ** rng.uniform(-0.5, 2)
    phase = rng.uniform(0.15, 0.85) * math.pi
    rise = rng.uniform(12, 30)

    def shape(when: float) -> float:
        wave = math.sin(turn * (when - now) + phase)
        if kind == "supernova":
            age = max(when - since, 0) / rise
            return age / (1 + age * age)
        if kind == "flare":
            return (0.5 + 0.5 * wave) ** 6 + 0.02
        return wave if kind == "variable" else 1 + 0.25 * wave

    scale = shape(now)
    return lambda when: shape(when) / scale
