"""The cutouts of a simulated alert, and what is measured in them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alertstream.local.simulate.sky import ELECTRONS_PER_NJY, PIXEL, Field, Object, Place, Visit

Image = NDArray[np.float64]
"""Pixels in nJy: rows from the bottom, columns."""

_SPARE_NOISE = 50_000
_FITS_BLOCK = 2880
_HEADER = """\
SIMPLE  =                    T
BITPIX  =                  -32
NAXIS   =                    2
NAXIS1  = {size:20}
NAXIS2  = {size:20}
EXTEND  =                    T
ROTPA   = {angle:20.12G}
BUNIT   = 'nJy     '
WCSAXES =                    2
CRPIX1  = {x:20.12G}
CRPIX2  = {y:20.12G}
PC1_1   = {minus_cosine:20.12G}
PC1_2   = {sine:20.12G}
PC2_1   = {sine:20.12G}
PC2_2   = {cosine:20.12G}
CDELT1  =                  1.0
CDELT2  =                  1.0
CRVAL1  = {place.ra:20.12G}
CRVAL2  = {place.dec:20.12G}
LATPOLE =                 90.0
MJDREF  =                  0.0
END"""
"""As LSST's: a plane that touches the sky at the source, whose axes are not named."""


class Noise:
    """Strips of noise, nJy: every cutout starts as a piece of them, since drawing takes longer."""

    def __init__(self, rng: np.random.Generator, visit: Visit, size: int) -> None:
        # Sky noise of a PSF flux = noise of a pixel * sqrt(effective area of 4 pi sigma^2).
        pixel = visit.sky_error / math.sqrt(4 * math.pi * visit.sigma**2)
        shares = np.array([[5 / 13], [12 / 13]])
        self._strips = rng.standard_normal((2, size * size + _SPARE_NOISE)) * pixel * shares
        self._size = size

    def images(self, rng: np.random.Generator) -> Image:
        """Return template and science of nothing but noise."""
        first, size = int(rng.integers(_SPARE_NOISE)), self._size
        images: Image = self._strips[:, first : first + size * size].copy()
        return images.reshape(2, size, size)


class Cutouts(NamedTuple):
    """Three images of an object at ``x``, ``y`` (pixels from 0), and its PSF flux in each, nJy."""

    x: float
    y: float
    images: dict[str, Image]
    fluxes: dict[str, float]

    @classmethod
    def drawn(cls, rng: np.random.Generator, noise: Noise, visit: Visit, thing: Object) -> Cutouts:
        """Draw an object at the middle, and what else is there."""
        both = noise.images(rng)
        template, science = both
        size, sigma = len(template), visit.sigma
        x, y = (size - 1) / 2 + rng.uniform(-0.5, 0.5, 2)
        star = reference = _point(size, x, y, sigma)
        if thing.kind == "artefact":
            # The star is misplaced in the template.
            shift, direction = rng.uniform(0.4, 1.2), rng.uniform(0, math.tau)
            misplaced = x + shift * math.cos(direction), y + shift * math.sin(direction)
            reference = _point(size, *misplaced, sigma)
        for _ in range(rng.integers(4)):
            left, below = rng.uniform(0, size - 1, 2)
            neighbour = _point(size, left, below, sigma)
            both += neighbour * (10 * visit.sky_error * (1 + rng.pareto(1)))
        if thing.kind == "supernova":
            left, below = rng.normal((x, y), 3)
            host = _point(size, left, below, 2 * sigma)
            both += host * (thing.flux * rng.uniform(2, 15))
        light = max(thing.template + thing.flux, 0) * star
        shot_noise = np.sqrt(light / ELECTRONS_PER_NJY)
        science += light + shot_noise * rng.standard_normal(light.shape)
        template += thing.template * reference
        images = {"Difference": science - template, "Science": science, "Template": template}
        area = (star * star).sum()
        fluxes = {name: float((image * star).sum() / area) for name, image in images.items()}
        return cls(float(x), float(y), images, fluxes)

    def fits(self, field: Field, place: Place) -> dict[str, bytes]:
        """Return the cutouts as FITS files under their names in an alert."""
        # Each detector is turned a little by itself.
        rotation = field.rotation + (place.detector % 11 - 5) * 1e-3
        cosine, sine = PIXEL * math.cos(rotation), PIXEL * math.sin(rotation)
        header = _HEADER.format(
            size=len(self.images["Science"]),
            x=self.x + 1,
            y=self.y + 1,
            place=place,
            angle=math.degrees(rotation),
            minus_cosine=-cosine,
            sine=sine,
            cosine=cosine,
        )
        cards = "".join(f"{card:80}" for card in header.splitlines())
        start = _padded(cards.encode(), b" ")
        return {
            f"cutout{name}": start + _padded(image.astype(">f4").tobytes(), b"\0")
            for name, image in self.images.items()
        }


def _point(size: int, x: float, y: float, sigma: float) -> Image:
    """Return a round Gaussian of unit flux at ``x``, ``y``."""
    pixels = np.arange(size)
    norm = 1 / (sigma * math.sqrt(math.tau))
    across, up = (norm * np.exp(-0.5 * ((pixels - middle) / sigma) ** 2) for middle in (x, y))
    return np.outer(up, across)


def _padded(content: bytes, filler: bytes) -> bytes:
    return content + filler * (-len(content) % _FITS_BLOCK)
