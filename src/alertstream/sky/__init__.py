"""Where on the sky: regions, watchlists, and maps of where a gravitational wave came from.

All of them need no more of an alert than its position; a filter that uses them declares ``ra`` and
``dec`` in its ``fields``.
"""

from __future__ import annotations

from alertstream.sky.region import Match, Region
from alertstream.sky.regions import Cone, Moc, SkyMap
from alertstream.sky.watchlist import Watchlist

__all__ = ["FUNCTIONS", "Cone", "Match", "Moc", "Region", "SkyMap", "Watchlist"]

FUNCTIONS: dict[str, type[Region]] = {
    "cone": Cone,
    "moc": Moc,
    "skymap": SkyMap,
    "watchlist": Watchlist,
}
"""Their names in expressions."""
