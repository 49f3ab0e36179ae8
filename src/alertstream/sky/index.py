"""Targets indexed by position: the nearest of a million is found at once.

They are sorted by strips of declination, and by right ascension within each. Targets with larger
radii have strips of their own, since they match from further away.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right

from alertstream.alert.directions import Vector, angle, unit_vector
from alertstream.sky.sphere import ARCSEC
from alertstream.system.extras import extra

with extra("sky", "watchlists"):
    import numpy as np
    from numpy.typing import NDArray

STRIP = 8
"""Height of a strip, in radii."""
MIN_HEIGHT = 1 / ARCSEC
"""Of a strip, deg."""
MAX_NORTH = 89.99
"""Declination, deg, beyond which a circle counts as covering all right ascensions."""

Numbers = NDArray[np.float64]


def unit_vectors(ra: Numbers, dec: Numbers) -> Numbers:
    """Return the directions to positions, deg, as vectors of length 1, one a row."""
    ra, dec = np.radians(ra), np.radians(dec)
    vectors = np.empty((len(ra), 3))
    vectors[:, 0], vectors[:, 1], vectors[:, 2] = np.cos(ra), np.sin(ra), np.sin(dec)
    vectors[:, :2] *= np.cos(dec)[:, np.newaxis]
    return vectors


class TargetIndex:
    """Finds the nearest of the targets within whose radius a position is.

    :param ra: of each target, deg.
    :param radii: of each target, deg; one number applies to all.
    """

    def __init__(self, ra: Numbers, dec: Numbers, radii: Numbers | float) -> None:
        self.size = len(ra)
        if isinstance(radii, float):
            self._strips = [_Strips(ra, dec, None, radii)]
            return
        sizes = np.ceil(np.log(radii / MIN_HEIGHT) / math.log(STRIP)).clip(min=0)
        rows = (np.flatnonzero(sizes == size) for size in np.unique(sizes))
        self._strips = [_Strips(ra[of], dec[of], of, radii[of]) for of in rows]

    def nearest(self, ra: float, dec: float) -> tuple[int, float] | None:
        """Return the row of the nearest target and how far it is, deg; None if there is none.

        :param ra: deg, any.
        :param dec: deg, from -90 to 90.
        """
        best: tuple[int, float] | None = None
        for strips in self._strips:
            found = strips.nearest(ra % 360.0, dec)
            if found is not None and (best is None or found[1] < best[1]):
                best = found
        return best


class _Strips:
    """Targets whose radii are of about the same size.

    :param rows: which they are; None: all.
    """

    def __init__(
        self, ra: Numbers, dec: Numbers, rows: NDArray[np.int64] | None, radii: Numbers | float
    ) -> None:
        self._radius = float(np.max(radii, initial=0.0))
        # A bit more, for rounding.
        self._reach = self._radius * (1 + 1e-9) + 1e-10
        self._height = max(self._radius * STRIP, MIN_HEIGHT)
        self._last = int(180.0 / self._height)
        ra = ra % 360.0
        ra[ra == 360.0] = 0.0
        strips = ((dec + 90.0) / self._height).astype(np.int32)
        order = np.lexsort((ra, strips))
        counts = np.bincount(strips, minlength=self._last + 1)
        self._firsts = array("q", np.concatenate(([0], np.cumsum(counts))).tobytes())
        self._ra = array("d", ra[order].tobytes())
        self._vectors = unit_vectors(ra[order], dec[order])
        self._rows = (order if rows is None else rows[order]).astype(np.int32)
        self._radii = None if isinstance(radii, float) else radii[order]

    def nearest(self, ra: float, dec: float) -> tuple[int, float] | None:
        """Return the row of the nearest target, and how far it is, deg."""
        ras, firsts, reach = self._ra, self._firsts, self._reach
        low = max(int((dec + 90.0 - reach) / self._height), 0)
        high = min(int((dec + 90.0 + reach) / self._height), self._last)
        # No part of the circle around it is further away in right ascension than that.
        north = abs(dec) + reach
        half = reach / math.cos(math.radians(north)) if north < MAX_NORTH else 180.0
        if half >= 180.0:
            windows: tuple[tuple[float, float], ...] = ((0.0, 360.0),)
        elif half <= ra < 360.0 - half:
            windows = ((ra - half, ra + half),)
        else:
            windows = ((0.0, (ra + half) % 360.0), ((ra - half) % 360.0, 360.0))
        best, place = math.inf, -1
        for strip in range(low, high + 1):
            begin, end = firsts[strip], firsts[strip + 1]
            for west, east in windows:
                first = bisect_left(ras, west, begin, end)
                if first < end and ras[first] <= east:
                    last = bisect_right(ras, east, first, end)
                    apart, found = self._nearest_of(unit_vector(ra, dec), first, last)
                    if apart < best:
                        best, place = apart, found
        return None if place < 0 else (int(self._rows[place]), best)

    def _nearest_of(self, vector: Vector, first: int, last: int) -> tuple[float, int]:
        """Return how far the nearest is whose radius has a position, deg, and its place."""
        if last - first == 1 and self._radii is None:
            found = angle(vector, tuple(self._vectors[first].tolist()))
            return (found if found <= self._radius else math.inf), first
        vectors, at = self._vectors[first:last], np.array(vector)
        if self._radii is None:
            apart = vectors - at
            place = int(np.argmin(np.einsum("ij,ij->i", apart, apart)))
            found = angle(vector, tuple(vectors[place].tolist()))
            return (found if found <= self._radius else math.inf), first + place
        lengths = (np.linalg.norm(vectors - at, axis=1), np.linalg.norm(vectors + at, axis=1))
        degrees = np.degrees(2 * np.arctan2(*lengths))
        degrees[degrees > self._radii[first:last]] = np.inf
        place = int(np.argmin(degrees))
        return float(degrees[place]), first + place
