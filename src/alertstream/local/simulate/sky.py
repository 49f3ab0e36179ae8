"""What a simulated telescope sees: visits, fields, places, and what changes there.

Positions and times are rounded, so that the last digit, in which mathematical libraries differ,
does not show.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from random import Random

SLOT = timedelta(seconds=39)
PIXEL = 0.2 / 3600
"""Degrees."""
DETECTORS = 189
AB_ZERO = 31.4
"""AB magnitude of 1 nJy."""

# Five-sigma depths of a visit from LSST's reference design (Ivezić et al. 2019, table 2).
DEPTHS = {"u": 23.9, "g": 25.0, "r": 24.7, "i": 24.0, "z": 23.3, "y": 22.1}
# Right ascension and declination of the pole, and the longitude of the celestial one, in degrees.
GALACTIC = (192.859, 27.128, 122.932)
ECLIPTIC = (270.0, 66.5607, 90.0)
KINDS = {"variable": 45, "supernova": 12, "flare": 8, "moving": 10, "artefact": 25}
"""Kinds of objects, and how many of a hundred are of each."""

TAI = timedelta(seconds=37)
"""What TAI is ahead of UTC."""
# A star of AB magnitude 20 leaves some 69,000 electrons in a visit of 30 s.
ELECTRONS_PER_NJY = 1.9

_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)


@dataclass(frozen=True)
class Visit:
    """One exposure: times in MJD (TAI), PSF sigma in pixels, sky noise of a PSF flux in nJy."""

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
        depth = DEPTHS[band] + rng.gauss(0, 0.15)
        number, slot = visit_id(when)
        return cls(
            id=number,
            slot=slot,
            mjd=round((when - _EPOCH + TAI) / timedelta(days=1), 9),
            band=band,
            sigma=rng.uniform(1.4, 2.2),
            sky_error=flux_of(depth) / 5,
        )

    def source_id(self, detector: int, counter: int) -> int:
        """Return an id of 63 bits: 26 for the time, 8 for the detector, 29 for the counter."""
        return (self.slot << 8 | detector) << 29 | counter

    def error(self, flux: float) -> float:
        """Return one sigma of the PSF flux of a star of ``flux`` nJy, fitted with equal weights."""
        return math.sqrt(self.sky_error**2 + 4 / 3 * max(flux, 0) / ELECTRONS_PER_NJY)


def visit_id(when: datetime) -> tuple[int, int]:
    """Return the visit's id YYYYMMDDnnnnn, and the slots of 39 s in a number of 26 bits."""
    noon = datetime.combine((when - timedelta(hours=12)).date(), time(12), UTC)
    slot = (when - noon) // SLOT
    days = (noon - datetime(2010, 1, 1, 12, tzinfo=UTC)).days
    return int(f"{noon:%Y%m%d}{slot:05}"), days << 12 | slot


def flux_of(magnitude: float) -> float:
    """Return the flux of an AB magnitude, nJy."""
    return float(10 ** (0.4 * (AB_ZERO - magnitude)))


@dataclass(frozen=True)
class Place:
    """Where a source is: on the sky in degrees, on its detector in pixels."""

    ra: float
    dec: float
    detector: int
    x: float
    y: float
    angle: float


@dataclass(frozen=True)
class Field:
    """A pointing: centre and angle in radians, the visit, earlier visits, how many are bright."""

    visit: Visit
    earlier: Sequence[Visit]
    ra: float
    dec: float
    angle: float
    bright: float

    @classmethod
    def drawn(cls, rng: Random, when: datetime, longest_history: int) -> Field:
        """Draw a pointing at a time, and enough earlier visits for the longest history."""
        visit = Visit.drawn(rng, when)
        # Telescopes look where it is high: near the meridian of Cerro Pachón, 70.75° west.
        sidereal = 280.46 + 360.985647 * (visit.mjd - 51544.5) - 70.75
        ra, dec = (sidereal + rng.uniform(-40, 40)) % 360, rng.uniform(-65, 2)
        latitude = turned(ra, dec, *GALACTIC)[1]
        most = longest_history + longest_history // 4
        days = rng.sample(range(1, max(366, most + 1)), most)
        nights = [when - timedelta(days=day, hours=rng.uniform(-2, 2)) for day in days]
        return cls(
            visit=visit,
            earlier=[Visit.drawn(rng, night) for night in sorted(nights)],
            ra=math.radians(ra),
            dec=math.radians(dec),
            angle=rng.uniform(0, math.tau),
            bright=0.09 + 0.5 * math.exp(-abs(latitude) / 5),
        )

    def place(self, rng: Random) -> Place:
        """Return a place anywhere on the 21 rafts of 9 detectors, 3.5° across."""
        detector, x, y = rng.randrange(DETECTORS), rng.uniform(0, 4072), rng.uniform(0, 4000)
        raft, ccd = divmod(detector, 9)
        cell = [cell for cell in range(25) if cell not in (0, 4, 20, 24)][raft]
        centre = complex(cell % 5 * 3 + ccd % 3 - 7, cell // 5 * 3 + ccd // 3 - 7) * 4224
        tilt = (detector * 37 % 11 - 5) * 1e-3
        offset = centre + complex(x - 2036, y - 2000) * cmath.exp(1j * tilt)
        offset *= math.radians(PIXEL) * cmath.exp(1j * self.angle)
        east, north = -offset.real, offset.imag
        depth = math.cos(self.dec) - north * math.sin(self.dec)
        ra = self.ra + math.atan2(east, depth)
        height = math.sin(self.dec) + north * math.cos(self.dec)
        dec = math.atan2(height, math.hypot(east, depth))
        return Place(
            ra=round(math.degrees(ra) % 360, 9),
            dec=round(math.degrees(dec), 9),
            detector=detector,
            x=x,
            y=y,
            angle=self.angle + tilt,
        )


def turned(
    ra: float, dec: float, pole_ra: float, pole_dec: float, north: float
) -> tuple[float, float]:
    """Return longitude and latitude in the system whose pole is given, in degrees.

    :param north: the longitude that the celestial north pole has in it.
    """
    away, height, top = (math.radians(angle) for angle in (ra - pole_ra, dec, pole_dec))
    up = math.sin(height) * math.sin(top) + math.cos(height) * math.cos(top) * math.cos(away)
    along = math.sin(height) * math.cos(top) - math.cos(height) * math.sin(top) * math.cos(away)
    longitude = north - math.degrees(math.atan2(math.cos(height) * math.sin(away), along))
    return round(longitude % 360, 9), round(math.degrees(math.asin(up)), 9)


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
        visit = field.visit
        kind = rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
        size = visit.sky_error * min(3.8 * rng.paretovariate(1.3), 150)
        if kind != "supernova" and rng.random() < field.bright:
            size = flux_of(rng.uniform(16.8, 20))
        fades = kind in ("variable", "artefact") and rng.random() < 0.35
        constant = {"supernova": 0.0, "moving": 0.0, "flare": 0.3, "artefact": 6.0}.get(kind, 2.5)
        since = field.earlier[-earlier].mjd - 1 if earlier else visit.mjd - 2
        return cls(
            kind=kind,
            flux=-size if fades else size,
            template=size * constant * rng.uniform(0.6, 1.6),
            curve=_light_curve(rng, kind, visit.mjd, since),
            motion=(rng.uniform(-0.3, 0.3), rng.uniform(-0.03, 0.03))
            if kind == "moving"
            else (0, 0),
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
