"""The benchmark's figures as a chart."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

NOT_COMPARED = ("alertstream print", "alertstream monitor")


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw the alerts a second of each contender, with their spread, as SVG or PNG."""
    from matplotlib import pyplot

    parts = [part for part in ("send", "filter") if part in figures]
    if not parts:
        return
    chart, axes = pyplot.subplots(len(parts), 1, figsize=(8, 2.6 * len(parts)), squeeze=False)
    for part, (axis,) in zip(parts, axes, strict=True):
        contenders = [c for c in figures[part] if not c["name"].startswith(NOT_COMPARED)][::-1]
        rates = [[figures["alerts"] / each for each in c["seconds"]] for c in contenders]
        middles = [statistics.median(each) for each in rates]
        spread = [
            [middle - min(each) for middle, each in zip(middles, rates, strict=True)],
            [max(each) - middle for middle, each in zip(middles, rates, strict=True)],
        ]
        names = [each["name"] for each in contenders]
        colours = ["#1f6f8b" if name.startswith("alertstream") else "#b0b7bd" for name in names]
        axis.barh(names, middles, xerr=spread, color=colours, ecolor="#555555", capsize=2)
        axis.set_xlabel("alerts a second")
        size = figures["bytes"] / figures["alerts"] / 1000
        axis.set_title(f"{part}: {figures['alerts']} alerts of {size:.0f} KB", loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    chart.tight_layout()
    chart.savefig(path)
