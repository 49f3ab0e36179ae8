"""Joins tables of targets into one that loads quickly, and summarises it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alertstream.errors import UsageError
from alertstream.sky.index import unit_vectors
from alertstream.sky.sphere import ARCSEC
from alertstream.sky.tables import Targets, read_targets
from alertstream.sky.watched_file import TABLE_FORMATS, readable
from alertstream.system.extras import extra
from alertstream.system.files import Part, writing

with extra("sky", "watchlists"):
    import cdshealpix
    import numpy as np
    import pyarrow
    import pyarrow.parquet
    from astropy import units
    from astropy.coordinates import Latitude, Longitude
    from numpy.typing import NDArray

COVERAGE_ORDER = 8
"""Of the HEALPix cells, 14 arcmin wide, that count as covered where they have a target."""
SKY = 129_600 / np.pi
"""Square degrees."""
MAX_NEAR = 1_000
"""Neighbours with which a target is compared."""
BLOCK = 500_000
"""Targets that are compared with others at a time: this bounds the memory."""
_APART = 1024.0
"""Distance between strips in the sort key, larger than any right ascension."""


@dataclass(frozen=True)
class Joined:
    """A summary of joined tables.

    :param rows: of each table.
    :param without_position: rows of each table that were left out.
    :param targets: how many were written.
    :param duplicates: targets near an earlier one, whether or not they were left out.
    :param square_degrees: of the sky, in cells of ``COVERAGE_ORDER``.
    """

    rows: list[int]
    without_position: list[int]
    targets: int
    duplicates: int
    square_degrees: float

    @property
    def sky_fraction(self) -> float:
        """The part of the sky that is covered."""
        return self.square_degrees / SKY


def join_tables(
    paths: Sequence[Path],
    output: Path,
    radius: float,
    *,
    unique: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> Joined:
    """Write the targets of tables as one Parquet file, from south to north.

    :param radius: within what distance of an earlier target one is a duplicate, deg.
    :param unique: leave duplicates out.
    :param progress: called with how much is done, 0 to 1.
    :raises UsageError: a table has no positions, or cannot be read, or would be written over.
    :raises DataError: the file cannot be written.
    """
    if output.suffix != ".parquet":
        raise UsageError("the file is Parquet", where=str(output), todo="end its name in .parquet")
    if any(output.exists() and path.exists() and output.samefile(path) for path in paths):
        what, todo = "one of the tables would be written over", "choose another -o"
        raise UsageError(what, where=str(output), todo=todo)
    tables = []
    for done, path in enumerate(paths):
        with readable(path, TABLE_FORMATS):
            tables.append(read_targets(path, drop_missing=True))
        progress((done + 1) / (len(paths) + 2))
    ra = np.concatenate([each.ra for each in tables]) % 360.0
    dec = np.concatenate([each.dec for each in tables])
    if not len(ra):
        where = ", ".join(map(str, paths))
        raise UsageError("no row has a position", where=where, todo="give other tables")
    order = np.lexsort((ra, dec))
    duplicate = _duplicates(ra, dec, radius)
    progress((len(paths) + 1) / (len(paths) + 2))
    if unique:
        order = order[~duplicate[order]]
    columns: dict[str, Any] = {"ra": ra[order], "dec": dec[order]}
    names = _names(paths, tables)
    if names is not None:
        columns = {"name": names.take(pyarrow.array(order)), **columns}
    if any(each.radii is not None for each in tables):
        radii = [
            np.full(len(each.ra), np.nan) if each.radii is None else each.radii for each in tables
        ]
        columns["radius_arcsec"] = pyarrow.array(
            np.concatenate(radii)[order] * ARCSEC, from_pandas=True
        )
    _write(output, pyarrow.table(columns))
    return Joined(
        [len(each.ra) + each.dropped for each in tables],
        [each.dropped for each in tables],
        len(order),
        int(np.count_nonzero(duplicate)),
        _square_degrees(ra, dec),
    )


def _write(output: Path, table: Any) -> None:
    with writing(output, option="-o"), Part(output) as part:
        pyarrow.parquet.write_table(table, part.file, compression="zstd")
        part.finish()


def _names(paths: Sequence[Path], tables: Sequence[Targets]) -> Any:
    """Return the names of all targets; without names, those of the table and the row."""
    found = [each.names for each in tables]
    if all(each is None for each in found):
        return None
    for index, (path, table) in enumerate(zip(paths, tables, strict=True)):
        if found[index] is None:
            found[index] = pyarrow.array(f"{path.stem} {row + 1}" for row in range(len(table.ra)))
    if not all(pyarrow.types.is_integer(each.type) for each in found):
        found = [each.cast(pyarrow.string()) for each in found]
    return pyarrow.concat_arrays([each.cast(found[0].type) for each in found])


def _square_degrees(ra: Any, dec: Any) -> float:
    cells = cdshealpix.lonlat_to_healpix(
        Longitude(ra, units.deg), Latitude(dec, units.deg), COVERAGE_ORDER
    )
    return float(len(np.unique(cells)) * SKY / (12 * 4**COVERAGE_ORDER))


def _duplicates(ra: Any, dec: Any, radius: float) -> NDArray[np.bool_]:
    """Return which targets are within an angle, deg, of one in an earlier row.

    Targets are sorted by strips of declination, and by right ascension in each: those that are near
    one are next to it there, and in the strips beside its own.
    """
    height = max(radius, 1 / ARCSEC) * 1.01
    strips = ((dec + 90.0) / height).astype(np.int64)
    order = np.lexsort((ra, strips))
    strips, ra, dec = strips[order] * _APART, ra[order], dec[order]
    vectors = unit_vectors(ra, dec)
    north = np.radians(np.abs(dec) + height)
    half = np.where(north < 1.57, height / np.cos(np.minimum(north, 1.57)), 360.0)
    limit = (2 * np.sin(np.radians(radius) / 2)) ** 2
    places, found = strips + ra, np.zeros(len(ra), bool)
    for block in np.array_split(np.arange(len(ra)), len(ra) // BLOCK + 1):
        # At 0 h, what is near may be at 360 degrees.
        for strip, turn in itertools.product((-_APART, 0.0, _APART), (-360.0, 0.0, 360.0)):
            west, east = ra[block] + turn - half[block], ra[block] + turn + half[block]
            rows = block[(west <= 360.0) & (east >= 0.0)]
            begin, end = (
                strips[rows] + strip + np.clip(each[rows - block[0]], 0.0, 360.0)
                for each in (west, east)
            )
            first = np.searchsorted(places, begin)
            last = np.searchsorted(places, end, "right")
            for step in range(MAX_NEAR):
                near = (first + step < last) & ~found[rows]
                rows, first, last = rows[near], first[near], last[near]
                if not len(rows):
                    break
                apart = vectors[rows] - vectors[first + step]
                close = np.einsum("ij,ij->i", apart, apart) <= limit
                found[rows[close & (order[first + step] < order[rows])]] = True
    in_rows = np.empty_like(found)
    in_rows[order] = found
    return in_rows
