"""HEALPix, nested: the cell of a position, and sets of cells in which it is looked up.

Libraries are made for millions of positions at once: for one, they take longer than all other work
on an alert. The projection: Górski et al. 2005, ApJ 622, 759, section 5.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from dataclasses import dataclass

MAX_ORDER = 29
_BITS = 10
_MASK = (1 << _BITS) - 1
# The bits of a number, with a zero before each.
_SPREAD = [sum((n >> bit & 1) << 2 * bit for bit in range(_BITS)) for n in range(1 << _BITS)]


def cell_of(ra: float, dec: float, order: int) -> int:
    """Return the nested cell of an order that has a position, deg."""
    quarter, sin = ra % 360.0 / 90.0, math.sin(math.radians(dec))
    if -2 / 3 <= sin <= 2 / 3:
        # Near the equator: along the diagonals, which rise to the right and to the left.
        rising, falling = 0.5 + quarter - 0.75 * sin, 0.5 + quarter + 0.75 * sin
        return _equatorial(rising, falling, order)
    base = min(int(quarter), 3)
    along = quarter - base
    # By the distance from the pole, where the sine has lost its precision.
    to_pole = math.sqrt(6.0) * math.sin(math.radians(90.0 - abs(dec)) / 2)
    x, y = along * to_pole, (1.0 - along) * to_pole
    if sin > 0:
        return _in_face(base, 1.0 - y, 1.0 - x, order)
    return _in_face(base + 8, x, y, order)


def _equatorial(rising: float, falling: float, order: int) -> int:
    column, row = int(rising), int(falling)
    # North of the equatorial faces, on them, or south.
    face = column & 3 if column < row else (row & 3) + (4 if column == row else 8)
    return _in_face(face, falling - row, 1.0 - (rising - column), order)


def _in_face(face: int, x: float, y: float, order: int) -> int:
    """Return the cell at a place in one of the twelve faces, from its southern corner."""
    side = 1 << order
    column, row = min(int(x * side), side - 1), min(int(y * side), side - 1)
    if order <= _BITS:
        return (face << 2 * order) + (_SPREAD[row] << 1) + _SPREAD[column]
    return (face << 2 * order) + (_spread(row) << 1) + _spread(column)


def _spread(number: int) -> int:
    low, middle = _SPREAD[number & _MASK], _SPREAD[number >> _BITS & _MASK]
    return low | middle << 2 * _BITS | _SPREAD[number >> 2 * _BITS] << 4 * _BITS


@dataclass(frozen=True)
class Cells:
    """Ranges of cells, sorted and apart from each other.

    :param order: of the cells.
    :param starts: the first cell of each range.
    :param ends: the cell after each range.
    :param levels: a value of each range; empty if they have none.
    """

    order: int
    starts: array[int]
    ends: array[int]
    levels: array[float]

    def find(self, ra: float, dec: float) -> int:
        """Return the number of the range that has a position, deg; -1 if none has."""
        cell = cell_of(ra, dec, self.order)
        place = bisect_right(self.starts, cell) - 1
        return place if place >= 0 and cell < self.ends[place] else -1
