"""Reads regions and probability maps as HEALPix cells; each mistake is one clear error."""

from __future__ import annotations

import json
import re
from array import array
from pathlib import Path
from typing import Any

from alertstream.errors import UsageError
from alertstream.sky.healpix import MAX_ORDER, Cells
from alertstream.system.extras import extra

with extra("sky", "maps of the sky"):
    import cdshealpix
    import mocpy
    import numpy as np
    from astropy.io import fits
    from numpy.typing import NDArray

END = 12 * 4**MAX_ORDER
MAX_NAME = 40
_FORMATS = ((b"SIMPLE", "fits"), (b"{", "json"), (b"", "ascii"))
_DENSITY = ("PROBDENSITY", "PROB_DENSITY")
_PROBABILITY = ("PROB", "PROBABILITY")
MAPS = "give a multi-order map (UNIQ, PROBDENSITY), or a flat one (PROB, ORDERING)"


def read_moc(path: Path) -> Cells:
    """Read a region of the sky: a MOC in FITS, JSON or ASCII.

    :raises Exception: it is not a MOC, or cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(80).lstrip()
    kind = next(name for magic, name in _FORMATS if start.startswith(magic))
    if kind == "fits":
        # mocpy would accept a truncated file.
        fits.getdata(path, 1)
    moc: Any = mocpy.MOC.load(path, kind)
    if kind == "json":
        # mocpy would leave out impossible cells.
        for depth, cells in json.loads(path.read_bytes()).items():
            size = 12 * 4 ** int(depth) if re.fullmatch("[12]?[0-9]", depth) else 0
            for cell in cells if isinstance(cells, list) else [f"{cells}"]:
                if type(cell) is not int or not 0 <= cell < size:
                    raise _no_cell(f"{depth}/{cell}")
    order = int(moc.max_order)
    starts, ends = moc.to_depth29_ranges.astype(np.int64).T
    wrong = (starts < 0) | (ends <= starts) | (ends > END)
    if wrong.any():
        raise _no_cell(f"{MAX_ORDER}/{starts[wrong][0]}")
    shift = 2 * (MAX_ORDER - order)
    return _cells(order, starts >> shift, ends >> shift)


def read_sky_map(path: Path, probability: float) -> Cells:
    """Read the smallest area of a map that holds a probability.

    The level of each cell is the probability of the smallest area that has it.

    :param probability: above 0, to 1.
    :raises UsageError: it is not a map of probability.
    :raises Exception: it cannot be read.
    """
    with fits.open(path, memmap=False) as hdus:
        tables = [each for each in hdus if isinstance(each, fits.BinTableHDU)]
        if not tables:
            raise _error("the file has no map")
        orders, cells, density = _map(_Map(tables[0]))
    areas = 0.25 ** orders.astype(float)
    shares = np.where(density > 0, density * areas, 0.0)
    shares[~np.isfinite(shares)] = 0.0
    total = shares.sum()
    if not total > 0:
        raise _error("the map has no probability")
    densest = np.argsort(-shares / areas, kind="stable")
    levels = np.cumsum(shares[densest]) / total
    # The cell that crosses the threshold belongs to it, too.
    size = min(int(np.searchsorted(levels, probability)) + 1, np.count_nonzero(shares))
    inside = densest[:size]
    order = int(orders.max())
    shift = 2 * (order - orders[inside])
    starts = cells[inside] << shift
    in_order = np.argsort(starts)
    ends = (cells[inside] + 1) << shift
    return _cells(order, starts[in_order], ends[in_order], np.minimum(levels[:size], 1)[in_order])


def _no_cell(name: str) -> UsageError:
    todo = 'give orders 0 to 29 and cells from 0 to 12 * 4^order - 1, as in {"8": [4, 5]}'
    return UsageError(f"{name[:MAX_NAME]} is not a HEALPix cell", todo=todo)


def _error(what: str) -> UsageError:
    return UsageError(what, todo=MAPS)


class _Map:
    """A table of a map: its columns and what its header says."""

    def __init__(self, table: Any) -> None:
        self._columns = {name.upper(): name for name in table.columns.names}
        self._table = table

    def says(self, key: str) -> str:
        return str(self._table.header.get(key, "")).strip().upper()

    def column(self, *names: str) -> Any:
        """Return the first existing one of some columns, flattened; None if there is none."""
        for name in names:
            if name in self._columns:
                values = np.asarray(self._table.data[self._columns[name]]).ravel()
                return values.astype(values.dtype.newbyteorder("="))
        return None


def _map(table: _Map) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return each cell's order, number and density of probability, in whichever unit."""
    # HEALPix's E is for ecliptic.
    if not re.fullmatch("(C|I|EQU|FK5|J2000).*|", coordinates := table.says("COORDSYS")):
        raise _error(f"the map has other coordinates than ICRS: {coordinates}")
    unique, density = table.column("UNIQ"), table.column(*_DENSITY)
    probability = table.column(*_PROBABILITY)
    if density is None and probability is None:
        raise _error(f"the map has no column of probability: it has {', '.join(table._columns)}")
    if unique is not None:
        unique = unique.astype(np.int64)
        bounds = 4 ** np.arange(1, MAX_ORDER + 2)
        orders = np.searchsorted(bounds, unique, side="right") - 1
        if len(unique) == 0 or orders.min() < 0 or unique.max() >= 4 * bounds[-1]:
            raise _error("a UNIQ of the map is not the number of a cell")
        cells = unique - bounds[orders]
    else:
        values = density if probability is None else probability
        orders, cells = _flat(table, len(values))
    if density is None:
        density = probability * 4.0**orders
    if len(density) != len(cells):
        raise _error("the columns of the map have different lengths")
    return orders, cells, density.astype(float)


def _flat(table: _Map, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the orders and nested numbers of cells that are all of one order."""
    ordering, pixels = table.says("ORDERING"), table.column("PIXEL", "IPIX", "PIX")
    if ordering not in ("NESTED", "NEST", "RING"):
        raise _error(f"the map's ORDERING is {ordering or 'missing'}, not NESTED or RING")
    partial = pixels is not None and table.says("INDXSCHM") == "EXPLICIT"
    sides = int(table.says("NSIDE") or round((size / 12) ** 0.5))
    order = sides.bit_length() - 1
    if sides != 1 << order or order > MAX_ORDER or not (partial or size == 12 * sides**2):
        raise _error(f"the map has {size} pixels and NSIDE {sides}, which is not a HEALPix map")
    cells = pixels.astype(np.int64) if partial else np.arange(size)
    if size and not 0 <= cells.min() <= cells.max() < 12 * sides**2:
        raise _error("a PIXEL of the map is not the number of a cell")
    if ordering == "RING":
        cells = cdshealpix.from_ring(cells, order).astype(np.int64)
    return np.full(size, order), cells


def _cells(order: int, starts: Any, ends: Any, levels: Any = ()) -> Cells:
    first, last = (array("q", np.asarray(each, np.int64).tobytes()) for each in (starts, ends))
    return Cells(order, first, last, array("d", np.asarray(levels, np.float64).tobytes()))
