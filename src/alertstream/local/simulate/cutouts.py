"""The cutouts of a simulated alert, and what is measured in them.

Drawn without numpy: ``alertstream simulate`` needs no extra, and gives the same bytes everywhere.
"""

from __future__ import annotations

import cmath
import math
import sys
from array import array
from dataclasses import dataclass
from random import Random

from alertstream.local.simulate.sky import ELECTRONS_PER_NJY, PIXEL, Object, Place, Visit

Patch = list[tuple[int, float]]

_SPARE_NOISE = 50_000


@dataclass(frozen=True)
class Noise:
    """Long strips of pixels with nothing but noise in them, nJy; difference = science - template.

    Every cutout starts as a piece of them: drawing fresh noise would take ten times as long.
    """

    template: array[float]
    science: array[float]
    difference: array[float]
    size: int

    @classmethod
    def drawn(cls, rng: Random, visit: Visit, size: int) -> Noise:
        """Draw a visit's noise, for cutouts of ``size`` pixels an edge."""
        # Sky noise of a PSF flux = noise of a pixel * sqrt(effective area of 4 pi sigma^2).
        pixel = visit.sky_error / math.sqrt(4 * math.pi * visit.sigma**2)
        length = size * size + _SPARE_NOISE
        template = array("f", (rng.gauss(0, pixel * 5 / 13) for _ in range(length)))
        science = array("f", (rng.gauss(0, pixel * 12 / 13) for _ in range(length)))
        difference = array("f", map(float.__sub__, science, template))
        return cls(template, science, difference, size)

    def images(self, rng: Random) -> Images:
        """Return three cutouts of one piece of the strips."""
        first = rng.randrange(_SPARE_NOISE)
        cut = slice(first, first + self.size * self.size)
        return Images(self.template[cut], self.science[cut], self.difference[cut], self.size)


@dataclass(frozen=True)
class Images:
    """The three cutouts' pixels in nJy, row by row from the bottom."""

    template: array[float]
    science: array[float]
    difference: array[float]
    size: int

    def draw(self, rng: Random, visit: Visit, thing: Object) -> Measured:
        """Draw the object at the middle, what else is there, and measure what can be seen."""
        x, y = (0.5 * (self.size - 1) + rng.uniform(-0.5, 0.5) for _ in "xy")
        star = self._blob(x, y, visit.sigma)
        for _ in range(rng.randrange(4)):
            left, below = rng.uniform(0, self.size - 1), rng.uniform(0, self.size - 1)
            flux = 10 * visit.sky_error * rng.paretovariate(1)
            self._draw_constant(flux, left, below, visit.sigma)
        if thing.kind == "supernova":
            host = thing.flux * rng.uniform(2, 15)
            self._draw_constant(host, x + rng.gauss(0, 3), y + rng.gauss(0, 3), 2 * visit.sigma)
        self._draw_star(rng, thing, star, self._reference(rng, thing, star, (x, y), visit.sigma))
        area = sum(weight * weight for _, weight in star)
        fluxes = (
            sum(image[index] * weight for index, weight in star) / area
            for image in (self.difference, self.science, self.template)
        )
        return Measured(x, y, *fluxes)

    def _reference(
        self, rng: Random, thing: Object, star: Patch, place: tuple[float, float], sigma: float
    ) -> Patch:
        """Return the object as the template has it: an artefact's star is misplaced there."""
        if thing.kind != "artefact":
            return star
        shift = cmath.rect(rng.uniform(0.4, 1.2), rng.uniform(0, math.tau))
        return self._blob(place[0] + shift.real, place[1] + shift.imag, sigma)

    def _draw_star(self, rng: Random, thing: Object, star: Patch, reference: Patch) -> None:
        total = max(thing.template + thing.flux, 0)
        for index, weight in star:
            light = total * weight
            light += math.sqrt(light / ELECTRONS_PER_NJY) * rng.gauss(0, 1)
            self.science[index] += light
            self.difference[index] += light
        for index, weight in reference:
            self.template[index] += thing.template * weight
            self.difference[index] -= thing.template * weight

    def _draw_constant(self, flux: float, x: float, y: float, sigma: float) -> None:
        for index, weight in self._blob(x, y, sigma):
            self.science[index] += flux * weight
            self.template[index] += flux * weight

    def _blob(self, x: float, y: float, sigma: float) -> Patch:
        """Return the pixels of a round Gaussian of unit flux, and the share of each."""
        columns, rows = self._profile(x, sigma), self._profile(y, sigma)
        return [(row * self.size + column, b * a) for row, b in rows for column, a in columns]

    def _profile(self, middle: float, sigma: float) -> list[tuple[int, float]]:
        reach = 4 * sigma
        first, last = max(math.ceil(middle - reach), 0), min(int(middle + reach), self.size - 1)
        norm = 1 / (sigma * math.sqrt(math.tau))
        return [
            (pixel, norm * math.exp(-0.5 * ((pixel - middle) / sigma) ** 2))
            for pixel in range(first, last + 1)
        ]

    def fits(self, header: bytes) -> dict[str, bytes]:
        """Return the cutouts as FITS files under their names in an alert."""
        images = {"Difference": self.difference, "Science": self.science}
        images["Template"] = self.template
        return {f"cutout{name}": _fits(header, image) for name, image in images.items()}


@dataclass(frozen=True)
class Measured:
    """The object's place in the cutouts, pixels from 0, and its PSF fluxes in them, nJy."""

    x: float
    y: float
    difference: float
    science: float
    template: float


def _fits(header: bytes, image: array[float]) -> bytes:
    pixels = array("f", image)
    if sys.byteorder == "little":
        pixels.byteswap()
    data = header + pixels.tobytes()
    return data + bytes(-len(data) % 2880)


def fits_header(visit: Visit, place: Place, measured: Measured, size: int) -> bytes:
    """Return a FITS header (FITS standard 4.0) of one block, with a tangential projection."""
    cosine, sine = (PIXEL * part(place.angle) for part in (math.cos, math.sin))
    cards: dict[str, str | float] = {
        "SIMPLE": "T",
        "BITPIX": -32,
        "NAXIS": 2,
        "NAXIS1": size,
        "NAXIS2": size,
        "BUNIT": "'nJy     '",
        "RADESYS": "'ICRS    '",
        "CTYPE1": "'RA---TAN'",
        "CTYPE2": "'DEC--TAN'",
        "CUNIT1": "'deg     '",
        "CUNIT2": "'deg     '",
        "CRPIX1": measured.x + 1,
        "CRPIX2": measured.y + 1,
        "CRVAL1": place.ra,
        "CRVAL2": place.dec,
        "CD1_1": -cosine,
        "CD1_2": sine,
        "CD2_1": sine,
        "CD2_2": cosine,
        "VISIT": visit.id,
        "DETECTOR": place.detector,
        "FILTER": f"'{visit.band:8}'",
    }
    text = "".join(_card(key, value) for key, value in cards.items()) + f"{'END':80}"
    return f"{text:2880}".encode("ascii")


def _card(key: str, value: str | float) -> str:
    if isinstance(value, float):
        value = f"{value:.12G}"
    text = f"{value:20}" if isinstance(value, str) and value[0] == "'" else f"{value:>20}"
    return f"{key:8}= {text:70}"
