"""A picture of alerts' positions and magnitudes, with those that pass in colour."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from alertstream.alert.light_curve import BAND_COLOURS
from alertstream.system.extras import extra

if TYPE_CHECKING:
    from alertstream.local.pass_rates import PassRates

with extra("plot", "pictures of the sky"):
    import numpy as np
    from matplotlib.figure import Figure

FIELD = 30.0
"""Degrees from the middle to the farthest alert; beyond it, the whole sky is shown."""
FAINT, OTHER = "#c3c8ce", "#777777"
BIN, MAX_MAGNITUDE = 0.25, 40.0
"""Magnitudes; what is beyond the latter is not physical."""


def chart(rates: PassRates, title: str) -> bytes:
    """Return the picture, a PNG file: the sky at the left, magnitudes at the right."""
    columns = np.array(rates.alerts, dtype=float).reshape(-1, 5).T
    bands = {
        band: (BAND_COLOURS.get(band, (OTHER,))[0], (columns[3] == number) & (columns[4] > 0))
        for band, number in rates.bands().items()
    }
    figure: Any = Figure(figsize=(12, 5), dpi=100, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    left, right = figure.subfigures(1, 2, width_ratios=(3, 2))
    _draw_sky(left, columns[:2], bands)
    _draw_magnitudes(right.subplots(), columns[2], bands)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _draw_sky(figure: Any, places: Any, bands: dict[str, Any]) -> None:
    """Draw a part of the sky as offsets from its middle, or all of it in Mollweide's projection."""
    placed = (np.abs(places[1]) <= 90) & (np.abs(places[0]) <= 360)
    ra, dec = np.radians(np.where(placed, places, 0))
    sky = np.array((np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)))
    middle = sky[:, placed].sum(axis=1)
    middle /= np.linalg.norm(middle) or 1.0
    if (middle @ sky[:, placed]).min(initial=1) > np.cos(np.radians(FIELD)) and placed.any():
        axes = figure.subplots()
        ra_0, dec_0 = np.arctan2(middle[1], middle[0]), np.arcsin(middle[2].clip(-1, 1))
        east = np.array((-np.sin(ra_0), np.cos(ra_0), 0.0))
        x, y = np.degrees((east @ sky, np.cross(middle, east) @ sky))
        axes.set_aspect("equal", adjustable="datalim")
        axes.invert_xaxis()
        axes.set_xlabel(f"deg east of RA {np.degrees(ra_0) % 360:.3f}°")
        axes.set_ylabel(f"deg north of Dec {np.degrees(dec_0):+.3f}°")
    else:
        axes = figure.add_subplot(projection="mollweide")
        x, y = (np.pi - ra) % (2 * np.pi) - np.pi, dec
        ticks = np.arange(-150, 180, 30)
        axes.set_xticks(np.radians(ticks), [f"{-each % 360}°" for each in ticks], fontsize=7)
        axes.set_xlabel("RA, east to the left, and Dec (ICRS)")
    axes.grid(alpha=0.4, linewidth=0.5)
    size = np.clip(4000 / max(placed.sum(), 1), 1, 9)
    axes.scatter(x[placed], y[placed], size, FAINT, linewidths=0)
    for colour, passes in bands.values():
        axes.scatter(x[placed & passes], y[placed & passes], 2 * size + 4, colour, linewidths=0)
    passed = sum(passes.sum() for _, passes in bands.values())
    axes.set_title(f"{passed:,} of {placed.size:,} alerts pass", fontsize=10)


def _draw_magnitudes(axes: Any, magnitudes: Any, bands: dict[str, Any]) -> None:
    """Draw how many alerts there are of each magnitude, and how many pass, by band."""
    measured = np.abs(magnitudes) < MAX_MAGNITUDE
    low, high = ((measured.any() and f(magnitudes[measured])) or 20.0 for f in (np.min, np.max))
    bins = np.arange(np.floor(low), high + 2 * BIN, BIN)
    passing = {
        f"{band} passes": (colour, measured & each) for band, (colour, each) in bands.items()
    }
    stacked = [magnitudes[each] for _, each in passing.values()]
    colours = [colour for colour, _ in passing.values()]
    highest = np.histogram(magnitudes[measured], bins)[0].max()
    if highest > 20 * np.histogram(np.concatenate([[], *stacked]), bins)[0].max():
        axes.set_yscale("log")
        axes.set_ylim(0.7, 2 * highest + 1)
    axes.hist(magnitudes[measured], bins, color=FAINT, label="all alerts")
    axes.hist(stacked, bins, stacked=True, color=colours, label=[*passing])
    axes.set_xlabel("AB magnitude of the difference")
    axes.set_ylabel(f"alerts per {BIN} mag")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    axes.set_title(f"{(~measured).sum():,} have no magnitude", fontsize=10)
