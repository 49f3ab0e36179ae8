"""Positions, radii and separations as people write and read them."""

from __future__ import annotations

import re
from typing import TypeGuard

from alertstream.errors import UsageError

ARCSEC = 3600.0
"""In a degree."""
UNITS = {"mas": ARCSEC * 1000, "arcsec": ARCSEC, "arcmin": 60.0, "deg": 1.0}
"""Units of radii: how many of each make a degree."""
_RADIUS = re.compile(rf"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*({'|'.join(UNITS)})\s*", re.IGNORECASE)


def as_separation(degrees: float) -> float:
    """Return an angle as matches state it: arcsec, to 0.1 mas."""
    return round(degrees * ARCSEC, 4)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a constant is a number; not True or False."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_position(ra: object, dec: object) -> bool:
    """Return whether these are a right ascension and a declination, deg."""
    return is_number(ra) and is_number(dec) and -360 <= ra <= 360 and -90 <= dec <= 90


def parse_radius(text: object, where: str) -> float:
    """Return a radius, given with its unit, in deg.

    :param where: what it is given to, for error messages.
    :raises UsageError: it has no unit, or is not between 0 and 180 degrees.
    """
    todo = 'write it with its unit, as in "30 arcsec", "2 arcmin" or "1.5 deg", to 180 deg'
    found = _RADIUS.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise UsageError(f"{text!r} is not a valid radius", where=where, todo=todo)
    try:
        degrees = float(found[1]) / UNITS[found[2].lower()]
    except ValueError:
        degrees = 0.0
    if not 0 < degrees <= 180:
        raise UsageError(f"{text!r} is not a valid radius", where=where, todo=todo)
    return degrees
