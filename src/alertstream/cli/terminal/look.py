"""How alerts look on standard output: width, colours of bands, drawn cutouts."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.text import Text

from alertstream.alert.light_curve import BAND_COLOURS
from alertstream.alert.text import PLAIN, Look, Paint
from alertstream.errors import UsageError

if TYPE_CHECKING:
    from alertstream.alert.pictures import Triplet

MAX_WIDTH = 98
"""Columns that an alert's cutouts take at most."""


def look() -> Look:
    """Return how text looks on standard output: within its width, and in its colours."""
    console = Console(file=sys.stdout, highlight=False)
    width = console.width if sys.stdout.isatty() else 0
    if console.color_system is None or console.no_color:
        return Look(width) if width else PLAIN
    # The terminal's background, as far as the environment says.
    dark = os.environ.get("COLORFGBG", "").rpartition(";")[2] not in ("7", "15")
    colours = {band: on[1] if dark else on[0] for band, on in BAND_COLOURS.items()}
    text = "black" if dark else "white"
    mark = _paint(console, {band: f"{text} on {colour}" for band, colour in colours.items()})
    return Look(width, mark, _paint(console, colours))


def _paint(console: Console, styles: dict[str, str]) -> Paint:
    around = {
        band: _rendered(console, Text("x", style)).split("x") for band, style in styles.items()
    }
    return lambda text, band: text.join(around.get(band, ("", "")))


def _rendered(console: Console, shown: RenderableType) -> str:
    """Return what a console would show, as text with escape sequences."""
    with console.capture() as captured:
        console.print(shown, end="")
    return captured.get().rstrip("\n")


def cutout_drawing() -> Callable[[Triplet], str]:
    """Return a function that draws an alert's cutouts, as well as the terminal can.

    That is by kitty graphics or sixel (which iTerm has, too), else half blocks in colour,
    else blocks of four shades. The terminal is queried once, now.

    :raises UsageError: textual-image is not installed.
    """
    console = Console(file=sys.stdout, highlight=False)
    # A terminal without colours would show the query; and if standard input is a pipe, its content
    # would be taken for the answer.
    may_ask = console.color_system is not None and sys.stdin and sys.stdin.isatty()
    try:
        with _standard_input(hidden=not may_ask):
            from textual_image import renderable
    except ImportError as error:
        raise UsageError(
            "cutouts in a terminal need textual-image", todo="pip install 'alertstream[images]'"
        ) from error
    from alertstream.alert.pictures import picture, strip

    kind = renderable.Image
    in_colour = console.color_system is not None and not console.options.ascii_only
    if kind is renderable.HalfcellImage and not in_colour:
        kind = renderable.UnicodeImage

    def draw(shown: Triplet) -> str:
        width = min(console.width, MAX_WIDTH)
        if kind not in (renderable.HalfcellImage, renderable.UnicodeImage):
            return _rendered(console, kind(picture(shown), width, "auto"))
        edge = max((width - 2) // 6 * 2, 2)
        titles = " ".join(f"{each:{edge}.{edge}}" for each in _titles(shown, edge))
        blocks = kind(strip(shown, edge, 1, marked=False), 3 * edge + 2, edge // 2)
        with _standard_input(hidden=not may_ask):
            return f"{titles}\n{_rendered(console, blocks)}"

    return draw


def picture_drawing() -> Callable[[bytes], str] | None:
    """Return a function that draws a PNG file in the terminal; None if it has no graphics."""
    console = Console(file=sys.stdout, highlight=False)
    if sys.stdout.isatty() and sys.stdin.isatty() and console.color_system is not None:
        with suppress(ImportError):
            from textual_image.renderable import HalfcellImage, Image, UnicodeImage

            if Image not in (HalfcellImage, UnicodeImage):
                return lambda png: _rendered(console, Image(io.BytesIO(png), MAX_WIDTH, "auto"))
    return None


@contextmanager
def _standard_input(*, hidden: bool) -> Iterator[None]:
    """Hide standard input from textual-image, which then does not query the terminal."""
    shown = sys.__stdin__
    if hidden:
        sys.__stdin__ = None  # type: ignore[misc]
    try:
        yield
    finally:
        sys.__stdin__ = shown  # type: ignore[misc]


def _titles(shown: Triplet, width: int) -> list[str]:
    from alertstream.alert.pictures import NAMES

    titles = {name: name.lower() for name in NAMES}
    signed = "difference, white=brighter"
    if len(signed) <= width:
        titles["Difference"] = signed
    for name in {*NAMES} - {*shown.panels}:
        titles[name] = f"{name.lower()}: {shown.causes.get(name, 'none')}"
    return [*titles.values()]
