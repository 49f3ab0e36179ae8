"""The benchmark's figures as a chart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OURS, OTHER = "#1f6f8b", "#b0b7bd"
NOT_COMPARED = ("alertstream print", "alertstream monitor")


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw the alerts a second of each contender, with their spread, as SVG or PNG."""
    from matplotlib import pyplot

    parts = [part for part in ("send", "filter") if part in figures]
    if not parts:
        return
    chart, axes = pyplot.subplots(len(parts), 1, figsize=(8, 2.6 * len(parts)), squeeze=False)
    for part, (axis,) in zip(parts, axes, strict=True):
        contenders = [c for c in figures[part] if not c["name"].startswith(NOT_COMPARED)]
        rates = {c["name"]: [figures["alerts"] / each for each in c["seconds"]] for c in contenders}
        _bars(axis, rates, [OURS if name.startswith("alertstream") else OTHER for name in rates])
        axis.set_xlabel("alerts a second")
        size = figures["bytes"] / figures["alerts"] / 1000
        axis.set_title(f"{part}: {figures['alerts']} alerts of {size:.0f} KB", loc="left")
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
        points = {each["name"]: each["seconds"] for each in figures[name]}
        _bars(axis, points, [OURS] * len(points))
        axis.set_title(name, loc="left")
        axis.set_xlabel("seconds")
    chart.tight_layout()
    chart.savefig(path)


def _bars(axis: Any, measured: Mapping[str, Sequence[float]], colours: Sequence[str]) -> None:
    """Draw medians as bars, with their spread, the first at the top."""
    values = [*measured.values()][::-1]
    middles = [statistics.median(each) for each in values]
    spread = [
        [middle - min(each) for middle, each in zip(middles, values, strict=True)],
        [max(each) - middle for middle, each in zip(middles, values, strict=True)],
    ]
    names = [*measured][::-1]
    axis.barh(names, middles, xerr=spread, color=colours[::-1], ecolor="#555555", capsize=2)
    axis.spines[["top", "right"]].set_visible(False)


def _is_curve(points: Any) -> bool:
    return isinstance(points, list) and bool(points) and "seconds" in points[0]
