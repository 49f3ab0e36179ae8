"""Regions of the sky: a cone, a MOC, and what a map of probability covers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from alertstream.alert.directions import angle, unit_vector
from alertstream.errors import UsageError
from alertstream.sky.region import Match, Region
from alertstream.sky.sphere import as_separation, is_number, is_position, parse_radius
from alertstream.sky.watched_file import WatchedFile


class Cone(Region):
    """All positions within an angle of one. A match has the ``separation`` from it, arcsec.

    :param ra: right ascension, ICRS, deg.
    :param dec: declination, ICRS, deg.
    :param radius: with its unit: ``"30 arcsec"``, ``"2 arcmin"`` or ``"1.5 deg"``, to 180 deg.
    :raises UsageError: one of them is not valid.
    """

    def __init__(self, ra: float, dec: float, radius: str) -> None:
        self._name = f"cone({ra}, {dec}, {radius})"
        if not is_position(ra, dec):
            todo = "give right ascension and declination in degrees, the latter from -90 to 90"
            raise UsageError("that is not a position", where=self._name, todo=todo)
        self._dec, self._radius = dec, parse_radius(radius, self._name)
        self._nearly = self._radius * (1 + 1e-9)
        self._center = unit_vector(ra, dec)

    def at(self, ra: float, dec: float) -> Match | None:
        """Return how far a position is from the middle, or None."""
        if abs(dec - self._dec) > self._nearly:
            return None
        apart = angle(self._center, unit_vector(ra, dec))
        if apart > self._radius:
            return None
        return {"in": self._name, "separation": as_separation(apart)}


class Moc(Region):
    """The region of a MOC, whose file is read again when it changes.

    :param path: FITS, JSON or ASCII.
    :raises UsageError: there is no such file, it is not a MOC, or the extra ``sky`` is missing.
    """

    def __init__(self, path: str | Path) -> None:
        from alertstream.sky.maps import read_moc

        self._file = WatchedFile(path, "a MOC of the sky, in FITS, JSON or ASCII", read_moc)

    def at(self, ra: float, dec: float) -> Match | None:
        """Return that a position is in it, or None."""
        found = self._file.content.find(ra, dec)
        return None if found < 0 else {"in": self._file.name}


class SkyMap(Region):
    """The smallest area of a map that holds a probability; the map is read again when it changes.

    A match has the ``probability`` of the smallest area that has the position.

    :param path: a HEALPix map in FITS, also gzipped: multi-order, or flat, nested or ring; ICRS.
    :param probability: as a fraction of the map's sum, above 0 and up to 1.
    :raises UsageError: the file is missing or not such a map, or the extra ``sky`` is missing.
    """

    def __init__(self, path: str | Path, probability: float) -> None:
        if not is_number(probability) or not 0 < probability <= 1:
            raise UsageError(
                f"{probability!r} is not a probability",
                where=f"skymap of {path}",
                todo="give one above 0, up to 1, such as 0.9",
            )
        from alertstream.sky.maps import read_sky_map

        read = partial(read_sky_map, probability=probability)
        self._file = WatchedFile(path, "a HEALPix map of probability, in FITS", read)

    def at(self, ra: float, dec: float) -> Match | None:
        """Return the probability of the least area that has a position, or None."""
        cells = self._file.content
        found = cells.find(ra, dec)
        if found < 0:
            return None
        return {"in": self._file.name, "probability": round(cells.levels[found], 6)}
