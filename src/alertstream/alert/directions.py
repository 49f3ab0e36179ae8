"""Directions on the sky, and the angle between two, exact from 0 to 180 degrees."""

from __future__ import annotations

import math

Vector = tuple[float, float, float]


def unit_vector(ra: float, dec: float) -> Vector:
    """Return the direction to a position, deg, as a vector of length 1."""
    ra, dec = math.radians(ra), math.radians(dec)
    cos = math.cos(dec)
    return cos * math.cos(ra), cos * math.sin(ra), math.sin(dec)


def angle(one: Vector, other: Vector) -> float:
    """Return the angle between two unit vectors, deg.

    It is accurate at all angles, since it uses both sum and difference: an arc cosine is inaccurate
    near 0 and 180 degrees.
    """
    (a, b, c), (x, y, z) = one, other
    apart = math.hypot(a - x, b - y, c - z)
    return math.degrees(2 * math.atan2(apart, math.hypot(a + x, b + y, c + z)))
