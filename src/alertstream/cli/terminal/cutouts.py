"""Draws an alert's cutouts in a terminal: with its graphics, or with blocks."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from alertstream.cli.terminal.look import rendered
from alertstream.errors import UsageError

if TYPE_CHECKING:
    from alertstream.alert.pictures import Triplet

MAX_WIDTH = 98
"""Columns that an alert's cutouts take at most."""


def cutout_drawing() -> Callable[[Triplet], str]:
    """Return what draws an alert's cutouts as text, in the best way that the terminal knows.

    That is the graphics of kitty or sixel (which iTerm has, too), else half blocks in colour,
    else blocks of four shades. The terminal is asked once, now.

    :raises UsageError: textual-image is not installed.
    """
    logging.getLogger("textual_image").addHandler(logging.NullHandler())
    console = Console(file=sys.stdout, highlight=False)
    # A terminal that knows no colour would show the question, and what another program writes to
    # standard input would be taken for the answer.
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
            return rendered(console, kind(picture(shown), width, "auto"))
        edge = max((width - 2) // 6 * 2, 2)
        titles = " ".join(f"{each:{edge}.{edge}}" for each in _titles(shown, edge))
        blocks = kind(strip(shown, edge, 1, marked=False), 3 * edge + 2, edge // 2)
        with _standard_input(hidden=not may_ask):
            return f"{titles}\n{rendered(console, blocks)}"

    return draw


@contextmanager
def _standard_input(*, hidden: bool) -> Iterator[None]:
    """Hide standard input from textual-image, which asks the terminal nothing without it."""
    shown = sys.__stdin__
    if hidden:
        sys.__stdin__ = None  # type: ignore[misc]
    try:
        yield
    finally:
        sys.__stdin__ = shown  # type: ignore[misc]


def _titles(shown: Triplet, width: int) -> list[str]:
    from alertstream.alert.pictures import NAMES

    titles = []
    for name in NAMES:
        title = name.lower()
        signed = f"{title}, white=brighter"
        if name not in shown.panels:
            title += f": {shown.causes.get(name, 'none')}"
        elif name == "Difference" and len(signed) <= width:
            title = signed
        titles.append(title)
    return titles
