"""Tables of targets: where columns of positions, names and radii are, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alertstream.errors import UsageError
from alertstream.sky.sphere import ARCSEC, UNITS
from alertstream.sky.table_files import Table, open_tables
from alertstream.system.extras import extra

with extra("sky", "watchlists"):
    import numpy as np
    import pyarrow
    import pyarrow.compute as pc
    from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_RA = (
    *("ra", "raj2000", "raicrs", "ra2000", "ramean", "meanra", "sra", "coordra", "targetra"),
    *("raobj", "objra", "alpha", "alphaj2000", "rightascension"),
)
_DEC = (
    ("ra", ("dec", "de", "decl", "declination")),
    ("alpha", ("delta",)),
    ("rightascension", ("declination",)),
)
"""What stands in a declination's name where a right ascension's has something else."""
_NAMES = (
    *("name", "target", "targetname", "mainid", "objectname", "objname", "object", "designation"),
    *("id", "targetid", "objectid", "objid", "diaobjectid", "sourceid", "source"),
)
_RADII = ("radius", "searchradius", "matchradius")
_DEGREES = {
    **dict.fromkeys(("deg", "degree", "degrees", "d", "°"), 1.0),
    **dict.fromkeys(("rad", "radian", "radians"), 180 / np.pi),
    **dict.fromkeys(("h", "hr", "hour", "hours", "hourangle"), 15.0),
    **dict.fromkeys(("h:m:s", "hms"), 15.0),
    **dict.fromkeys(("d:m:s", "dms"), 1.0),
}
"""How many degrees a unit of a position is; text is in the first part's."""
_IN_NAME = r"(deg|degrees|rad|hours?|hms|dms|mas|arcsec|arcmin)?"
"""A unit at the end of a column's name."""
_SEXAGESIMAL = (
    r"^\s*(?P<sign>[+\-−]?)\s*(?P<whole>\d{1,3})\s*[:hHdD°\s]\s*(?P<minutes>[0-5]?\d)"
    r"\s*(?:[:mM'′\s]\s*(?P<seconds>[0-5]?\d(?:\.\d*)?)?)?\s*[sS\"″]?\s*$"
)
_NO_POSITION = pyarrow.array(["", "nan", "null", "none", "-", "--", "---", "n/a", "na"])
"""Text for a position that is not known."""
_POSITIONS = "it needs columns such as ra and dec, RAJ2000 and DEJ2000, or _RA and _DE, in degrees"


@dataclass(frozen=True)
class Targets:
    """Positions to look for.

    :param ra: ICRS, deg.
    :param dec: ICRS, deg.
    :param names: names or ids, a pyarrow array; None: the table has none.
    :param radii: deg, NaN where a row has none; None: the table has none.
    :param dropped: how many rows were left out for lack of a position.
    """

    ra: Numbers
    dec: Numbers
    names: Any
    radii: Numbers | None
    dropped: int = 0

    def radii_or(self, default: float | None) -> Numbers | float | None:
        """Return each target's radius, deg, or the one of all; None if a target has none."""
        if self.radii is None:
            return default
        lacking = np.isnan(self.radii)
        if default is None:
            return None if lacking.any() else self.radii
        return np.where(lacking, default, self.radii)


def read_targets(path: Path, *, drop_missing: bool = False) -> Targets:
    """Read the first table of a file that has positions.

    :param drop_missing: leave out rows that have none.
    :raises UsageError: it has none, or a row has no position.
    :raises Exception: it cannot be read.
    """
    with open_tables(path) as tables:
        names: list[str] = []
        for table in tables:
            found = _Columns(table)
            if found.position:
                targets = found.targets(drop_missing)
                pyarrow.default_memory_pool().release_unused()
                return targets
            names += table.columns
        raise _error(f"no columns of positions among {', '.join(names[:12]) or 'none'}")


class _Columns:
    """Which columns of a table are the positions, the name and the radius, with their units."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._short = {each: re.sub("[^a-z0-9]", "", each.lower()) for each in table.columns}
        self.position = next(self._positions(), None)
        self.name = next((col for each in _NAMES for col, _ in self._called(each)), "")
        self.radius = next((found for each in _RADII for found in self._called(each)), ("", ""))

    def _called(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield the columns of a name, and the unit that is in it; VizieR's own degrees first."""
        for column in sorted(self._short, key=lambda each: not each.startswith("_")):
            if found := re.fullmatch(name + _IN_NAME, self._short[column]):
                yield column, self._table.unit(column).lower().strip('"') or found[1] or ""

    def _positions(self) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
        for name in _RA:
            part, others = next(each for each in reversed(_DEC) if each[0] in name)
            for ra in self._called(name):
                for other in others:
                    for dec in self._called(name.replace(part, other, 1)):
                        yield ra, dec

    def targets(self, drop_missing: bool) -> Targets:
        wanted = [column for column, _ in self.position or ()]
        wanted += [each for each in (self.radius[0], self.name) if each]
        columns = dict(zip(wanted, self._table.read(wanted, self.name), strict=True))
        assert self.position is not None
        (ra, ra_unit), (dec, dec_unit) = self.position
        right = _degrees(ra, columns[ra], ra_unit, 15.0)
        north = _degrees(dec, columns[dec], dec_unit, 1.0)
        missing = _missing(right, north, drop_missing)
        radii = names = None
        if self.radius[0]:
            radii = _radii(self.radius[0], columns[self.radius[0]], self.radius[1])
        if self.name:
            names = _names(columns[self.name])
        if missing.any():
            right, north = right[~missing], north[~missing]
            radii = None if radii is None else radii[~missing]
            names = None if names is None else names.filter(pyarrow.array(~missing))
        return Targets(right, north, names, radii, int(np.count_nonzero(missing)))


def _error(what: str, todo: str = _POSITIONS) -> UsageError:
    return UsageError(what, todo=todo)


def _degrees(name: str, column: Any, unit: str, of_text: float) -> Numbers:
    """Return a coordinate in degrees.

    :param of_text: degrees in a unit of sexagesimal text: right ascensions are in hours.
    """
    if unit and unit not in _DEGREES:
        raise _error(f"the unit {unit} of {name} is not one of a position")
    if pyarrow.types.is_time(column.type):
        column = column.cast(pyarrow.string())
    if _is_text(column):
        column = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pc.is_in(pc.utf8_lower(column), _NO_POSITION), None, column)
    try:
        return _numbers(column) * _DEGREES.get(unit, 1.0)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        pass
    if not _is_text(column):
        raise _error(f"{name} is neither numbers nor text")
    parts = pc.extract_regex(column, _SEXAGESIMAL)
    if parts.null_count > column.null_count:
        # A number is not what is wrong in a column of angles as text.
        odd = pc.invert(pc.match_substring_regex(pc.fill_null(column, ""), r"^[-+.\d]+$"))
        odd = pc.and_(pc.and_(pc.is_null(parts), pc.is_valid(column)), odd)
        row = max(pc.index(odd, True).as_py(), 0)
        what = f"{name} of row {row + 1} is not an angle: {column[row].as_py()!r}"
        raise _error(what, "write degrees, or as in 10:45:03.6 and -32 10 05")
    fields = [pc.struct_field(parts, each) for each in ("whole", "minutes", "seconds")]
    fields[2] = pc.if_else(pc.equal(fields[2], ""), "0", fields[2])
    whole, minutes, seconds = map(_numbers, fields)
    negative = pc.is_in(pc.struct_field(parts, "sign"), value_set=pyarrow.array(["-", "−"]))
    sign = 1.0 - 2.0 * negative.to_numpy(zero_copy_only=False)
    if not unit and re.match(r"[+\-−]?\d+\s*[dD°]", column.drop_null()[0].as_py()):
        unit = "deg"
    factor = _DEGREES[unit] if unit else of_text
    return np.asarray(sign * (whole + minutes / 60 + seconds / 3600) * factor)


def _missing(ra: Numbers, dec: Numbers, allowed: bool) -> NDArray[np.bool_]:
    """Return which rows have no position; require that, unless allowed, there are none."""
    if not len(ra):
        raise _error("the table has no rows", "write one for each target")
    missing = np.isnan(ra) | np.isnan(dec)
    if missing.any() and not allowed:
        count = np.count_nonzero(missing)
        first = missing.argmax() + 1
        what = f"{count} of {len(ra)} rows have no position, the first is {first}"
        raise _error(what, "remove them, or use: alertstream watchlist build")
    wrong = (np.abs(ra) > 360) | (np.abs(dec) > 90)
    if wrong.any():
        row = int(wrong.argmax())
        what = f"row {row + 1} is not a position: {ra[row]:g}, {dec[row]:g}"
        raise _error(what, "give degrees, -360 to 360 and -90 to 90")
    return missing


def _names(column: Any) -> Any:
    """Return names as text, and ids as numbers."""
    if pyarrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pyarrow.types.is_integer(column.type):
        return column
    try:
        text = column.cast(pyarrow.string())
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        return None
    text = pc.utf8_trim_whitespace(text)
    try:
        ids = text.cast(pyarrow.int64())
    except pyarrow.ArrowInvalid:
        return text
    # A number that is not written canonically, such as 007, is a name.
    return ids if ids.cast(pyarrow.string()).equals(text) else text


def _radii(name: str, column: Any, unit: str) -> Numbers:
    """Return radii in degrees; those of rows that have none are NaN."""
    todo = "give arcsec, or name the column as in radius_deg, radius_arcmin"
    if unit and unit not in UNITS:
        raise _error(f"the unit {unit} of {name} is not one of a radius", todo)
    try:
        radii = _numbers(column) / (UNITS[unit] if unit else ARCSEC)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        raise _error(f"{name} is not numbers", todo) from None
    wrong = ~(np.isnan(radii) | (radii > 0) & (radii <= 180))
    if wrong.any():
        what = f"{name} of row {wrong.argmax() + 1} is not between 0 and 180 degrees"
        raise _error(what, todo)
    return radii


def _is_text(column: Any) -> bool:
    types = pyarrow.types
    return bool(types.is_string(column.type) or types.is_large_string(column.type))


def _numbers(column: Any) -> Numbers:
    """Return a column as numbers, NaN where it has none.

    :raises pyarrow.ArrowInvalid: it is not a column of numbers.
    """
    if pyarrow.types.is_boolean(column.type) or pyarrow.types.is_temporal(column.type):
        raise pyarrow.ArrowInvalid("not numbers")
    values = column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
    return np.where(np.isinf(values), np.nan, values)
