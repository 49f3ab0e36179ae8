"""The cell of a position: the same as a library's."""

from __future__ import annotations

import math

import cdshealpix
import numpy as np
import pytest
from astropy import units
from astropy.coordinates import Latitude, Longitude
from tests.support.sky import positions

from alertstream.sky.healpix import cell_of


@pytest.mark.parametrize("order", [0, 1, 10, 11, 20, 29])
def test_the_cell_is_the_librarys(order: int) -> None:
    ra, dec = positions(2_000)
    edge = math.degrees(math.asin(2 / 3))
    dec[:100] = edge + np.random.default_rng(1).normal(0, 1e-6, 100)
    expected = cdshealpix.lonlat_to_healpix(
        Longitude(ra * units.deg), Latitude(dec * units.deg), order
    )
    assert [*map(int, expected)] == [cell_of(*each, order) for each in zip(ra, dec, strict=True)]


def test_every_position_has_a_cell() -> None:
    for order in (0, 3, 29):
        for ra in (-90, 0, 45, 90, 180, 270, 359.9999999999999, 360, 720):
            for dec in (-90, -60, 0, 41.8103148957786, 60, 90):
                assert 0 <= cell_of(ra, dec, order) < 12 * 4**order
