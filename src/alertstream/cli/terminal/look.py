"""How alerts look as text on standard output: its width, and a colour for each band."""

from __future__ import annotations

import os
import sys

from rich.console import Console, RenderableType
from rich.text import Text

from alertstream.alert.light_curve import BAND_COLOURS
from alertstream.alert.text import PLAIN, Look, Paint


def look() -> Look:
    """Return how text looks on standard output: within its width, and in its colours."""
    console = Console(file=sys.stdout, highlight=False)
    width = console.width if sys.stdout.isatty() else 0
    if console.color_system is None or console.no_color:
        return Look(width) if width else PLAIN
    dark = _is_dark()
    colours = {band: on[1] if dark else on[0] for band, on in BAND_COLOURS.items()}
    text = "black" if dark else "white"
    mark = _paint(console, {band: f"{text} on {colour}" for band, colour in colours.items()})
    return Look(width, mark, _paint(console, colours))


def _is_dark() -> bool:
    """Return whether the terminal's background is dark, as far as the environment says."""
    return os.environ.get("COLORFGBG", "").rpartition(";")[2] not in ("7", "15")


def _paint(console: Console, styles: dict[str, str]) -> Paint:
    around = {}
    for band, style in styles.items():
        before, _, after = rendered(console, Text("x", style)).partition("x")
        around[band] = (before, after)

    def paint(text: str, band: str) -> str:
        before, after = around.get(band, ("", ""))
        return f"{before}{text}{after}"

    return paint


def rendered(console: Console, shown: RenderableType) -> str:
    """Return what a console would show, as text with escape sequences."""
    with console.capture() as captured:
        console.print(shown, end="")
    return captured.get().rstrip("\n")
