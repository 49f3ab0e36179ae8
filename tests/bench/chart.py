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


def draw_curves(figures: dict[str, Any], path: Path) -> None:
    """Draw the seconds of each curve's points, with their spread, as SVG or PNG."""
    from matplotlib import pyplot

    curves = [name for name, points in figures.items() if _is_curve(points)]
    if not curves:
        return
    heights = [len(figures[name]) for name in curves]
    size = (8, 0.32 * sum(heights) + 1.1 * len(curves))
    chart, axes = pyplot.subplots(
        len(curves), 1, figsize=size, squeeze=False, height_ratios=heights
    )
    for name, (axis,) in zip(curves, axes, strict=True):
        points = figures[name][::-1]
        middles = [statistics.median(each["seconds"]) for each in points]
        spread = [
            [m - min(each["seconds"]) for m, each in zip(middles, points, strict=True)],
            [max(each["seconds"]) - m for m, each in zip(middles, points, strict=True)],
        ]
        axis.barh(
            [each["name"] for each in points],
            middles,
            xerr=spread,
            color="#1f6f8b",
            ecolor="#555555",
            capsize=2,
        )
        axis.set_title(name, loc="left")
        axis.set_xlabel("seconds")
        axis.spines[["top", "right"]].set_visible(False)
    chart.tight_layout()
    chart.savefig(path)


def _is_curve(points: Any) -> bool:
    return isinstance(points, list) and bool(points) and "seconds" in points[0]
