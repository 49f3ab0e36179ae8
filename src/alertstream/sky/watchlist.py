"""A watchlist: the positions near a table's targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alertstream.errors import UsageError
from alertstream.sky.region import Match, Region
from alertstream.sky.sphere import as_separation, parse_radius
from alertstream.sky.watched_file import TABLE_FORMATS, WatchedFile

if TYPE_CHECKING:
    from alertstream.sky.index import TargetIndex


@dataclass(frozen=True)
class _Targets:
    index: TargetIndex
    names: Any


class Watchlist(Region):
    """All positions near a target of a table, which is read again when it changes.

    A match has the nearest ``target``'s name, id, or else number of its row from 1 on, and the
    ``separation`` from it, arcsec.

    :param path: CSV, TSV, VOTable, FITS, Parquet or ECSV, with right ascension and declination.
    :param radius: with its unit, as in ``"2 arcsec"``. A radius in the table takes precedence, so
        it may be left out if each row has one.
    :raises UsageError: the radius is not valid, there is no such file, it is not a table with
        positions, or the extra ``sky`` is missing.
    """

    def __init__(self, path: str | Path, radius: str | None = None) -> None:
        default = None if radius is None else parse_radius(radius, f"watchlist of {path}")
        from alertstream.sky.index import TargetIndex
        from alertstream.sky.tables import read_targets

        def read(file: Path) -> _Targets:
            found = read_targets(file)
            radii: Any = found.radii_or(default)
            if radii is None:
                todo = 'give one, as in watchlist("FILE", "2 arcsec")'
                raise UsageError("targets have no radius", todo=todo)
            return _Targets(TargetIndex(found.ra, found.dec, radii), found.names)

        self._file = WatchedFile(path, TABLE_FORMATS, read)

    @property
    def size(self) -> int:
        """How many targets there are."""
        return self._file.content.index.size

    def at(self, ra: float, dec: float) -> Match | None:
        """Return the nearest target whose radius has a position, or None."""
        targets = self._file.content
        found = targets.index.nearest(ra, dec)
        if found is None:
            return None
        row, apart = found
        name = None if targets.names is None else targets.names[row].as_py()
        target = row + 1 if name in (None, "") else name
        return {"in": self._file.name, "target": target, "separation": as_separation(apart)}
