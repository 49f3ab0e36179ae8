"""Positions all over the sky, and most where geometry is hard."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alertstream.alert.alert import Alert

Numbers = NDArray[np.float64]


def positions(count: int, seed: int = 1) -> tuple[Numbers, Numbers]:
    """Return right ascensions and declinations, deg: near the poles, at 0 h, and anywhere."""
    random = np.random.default_rng(seed)
    ra = random.uniform(0, 360, count)
    dec = np.degrees(np.arcsin(random.uniform(-1, 1, count)))
    part = count // 5
    dec[:part] = 90 - 10 ** random.uniform(-9, 1, part)
    dec[part : 2 * part] = -90 + 10 ** random.uniform(-9, 1, part)
    ra[2 * part : 3 * part] = (
        10 ** random.uniform(-12, 0, part) * random.choice([-1, 1], part) % 360
    )
    return ra, dec


def alert_at(ra: float | None, dec: float | None, **source: Any) -> Alert:
    """Return an alert of LSST's at a position, deg."""
    return Alert({"diaSource": {"ra": ra, "dec": dec, **source}})
