"""An alert's cutouts as a picture: science, template and difference side by side.

Each is turned north up and east left by the WCS in its FITS header, at the scale of its pixels, so
what a turn moves out of the square is not shown. Where there is no WCS, the rows go upwards. The
brightness is an asinh of the pixels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from alertstream.alert.alert import Alert
from alertstream.alert.stamps import Pixels, Stamp, read_stamp
from alertstream.errors import PictureError, printable
from alertstream.system.extras import extra

with extra("images", "pictures"):
    import numpy as np
    from astropy.stats import mad_std
    from PIL import Image, ImageDraw, ImageFont, ImageOps

NAMES = ("Science", "Template", "Difference")
EDGE = 240
"""Edge length of an image in a picture, pixel."""
GAP = 8
TITLE, CAPTION = 24, 46
"""Height of what is written above and below the images, pixel."""
MAX_OVERSAMPLING = 8
"""How many times finer an image is drawn before it is made smaller."""
MAX_TEXT, MAX_CAPTION = 60, 100
"""Characters of a text from a stream, and of the caption made of them."""

_NO_VALUE = (58, 70, 98)
_OUTSIDE = (20, 22, 28)
_EMPTY = (38, 41, 50)
_MARK = (196, 152, 12)
_TEXT = (235, 235, 235)
_FAINT = (165, 165, 165)
_GREYS = 128


@dataclass(frozen=True)
class Panel:
    """One of an alert's images: its pixels as colours, row by row from the top, and the stamp."""

    image: Image.Image
    stamp: Stamp

    @property
    def side(self) -> int:
        """The edge of the square that is seen, in pixels of the image."""
        return max(self.image.size)

    def drawn(self, edge: int, *, marked: bool = False) -> Image.Image:
        """Return the square with an edge of so many pixels, north up if that is known.

        :param marked: two short lines point to the source, from the right and from above.
        """
        # What is drawn finer and then made smaller has smooth edges.
        finer = min(max(2, math.ceil(2 * self.side / edge)), MAX_OVERSAMPLING)
        nearest, sky = Image.Resampling.NEAREST, self.stamp.sky
        fine = ImageOps.pad(self.image, (finer * edge, finer * edge), nearest, _OUTSIDE)
        if sky.mirrored:
            fine = ImageOps.mirror(fine)
        square = fine.rotate(sky.angle, nearest, fillcolor=_OUTSIDE).reduce(finer)
        if marked:
            x = edge / 2 + sky.source[0] * edge / self.side
            y = edge / 2 - sky.source[1] * edge / self.side
            near, far = edge / 15, edge / 8
            draw = ImageDraw.Draw(square)
            draw.line([x + near, y, x + far, y], _MARK)
            draw.line([x, y - near, x, y - far], _MARK)
        return square


@dataclass(frozen=True)
class Triplet:
    """An alert's images that can be shown, why others cannot, and what is written below them."""

    panels: Mapping[str, Panel]
    causes: Mapping[str, str]
    caption: tuple[str, str]


def triplet(alert: Alert) -> Triplet | None:
    """Return what can be shown of the alert's cutouts; None if it has none.

    :raises ArithmeticError, TypeError, ValueError: its fields have unexpected types.
    """
    caption = _caption(alert)
    stamps: dict[str, Stamp] = {}
    causes: dict[str, str] = {}
    for name, (_, content) in alert.cutouts().items():
        try:
            stamp = read_stamp(content, alert.ra, alert.dec)
            if name == "Difference" and alert.survey.flipped and alert.faded:
                stamp = replace(stamp, pixels=-stamp.pixels)
            stamps[name] = stamp
        except PictureError as error:
            causes[name] = error.what
    if not stamps and not causes:
        return None
    difference = stamps.get("Difference")
    direct = [stamp for stamp in stamps.values() if stamp is not difference]
    # Science and template share a scale if they share a unit.
    shared = len({stamp.unit for stamp in direct if stamp.unit}) == 1
    panels = {}
    for name, stamp in stamps.items():
        together = direct if shared and stamp is not difference else [stamp]
        values = np.concatenate([each.pixels.ravel() for each in together])
        level = _brightness(stamp.pixels, values, signed=stamp is difference)
        panels[name] = Panel(_in_grey(level), stamp)
    return Triplet(panels, causes, caption)


def _caption(alert: Alert) -> tuple[str, str]:
    more = " mag" if alert.magnitude > 0 else " (fainter)" if alert.flux < 0 else ""
    time = alert.utc if math.isfinite(alert.mjd) else "-"
    parts = (
        printable(f"{alert.band or '-'}", MAX_TEXT),
        f"{' '.join(alert.brightness.split())}{more}",
        f"SNR {alert.snr:.1f}" if math.isfinite(alert.snr) else "SNR -",
        time if time.startswith(("MJD", "-")) else f"{time} UTC",
    )
    return printable("  ·  ".join(parts), MAX_CAPTION), printable(f"{alert.source_id}", MAX_TEXT)


def _brightness(pixels: Pixels, values: Pixels, *, signed: bool) -> Pixels:
    """Return brightness, 0 to 1: an asinh of pixels from below the sky to the brightest.

    :param values: the pixels that are to be seen on the same scale.
    :param signed: zero is in the middle, as in a difference.
    """
    noise = float(mad_std(values, ignore_nan=True))
    low = 0.0 if signed else float(np.nanmedian(values)) - 2 * noise
    # Outliers may be brighter. Pure noise is not stretched to full contrast.
    top = float(np.nanpercentile(np.abs(values) if signed else values, 99.8))
    height = max(top - low, (6 if signed else 12) * noise) or 1.0
    linear = max((3 if signed else 4) * noise, 1e-4 * height) if noise else height
    # As astropy's AsinhStretch, whose package imports matplotlib, which writes a folder.
    with np.errstate(over="ignore"):
        level: Pixels = np.arcsinh((pixels - low) / linear) / math.asinh(height / linear)
    return 0.5 + 0.5 * level if signed else level


def _in_grey(level: Pixels) -> Image.Image:
    bright = np.clip(np.nan_to_num(level), 0, 1) * 255
    coloured = np.repeat(bright.astype(np.uint8)[:, :, None], 3, axis=2)
    coloured[np.isnan(level)] = _NO_VALUE
    return Image.fromarray(coloured[::-1])


def strip(shown: Triplet, edge: int, gap: int, marked: bool = True) -> Image.Image:
    """Return the three images, or their empty places, ``edge`` pixels each, ``gap`` between."""
    sheet = Image.new("RGB", (3 * edge + 2 * gap, edge))
    for column, name in enumerate(NAMES):
        left = column * (edge + gap)
        if name in shown.panels:
            sheet.paste(shown.panels[name].drawn(edge, marked=marked), (left, 0))
        else:
            sheet.paste(_EMPTY, (left, 0, left + edge, edge))
    return sheet


def png(image: Image.Image) -> bytes:
    """Return an image that has the colours of pictures as a PNG file."""
    stream = io.BytesIO()
    # A palette takes half the space and a third of the time of RGB.
    in_palette = image.quantize(palette=_palette(), dither=Image.Dither.NONE)
    in_palette.save(stream, "PNG", compress_level=4)
    return stream.getvalue()


@cache
def _palette() -> Image.Image:
    greys = [(round(255 * each / (_GREYS - 1)),) * 3 for each in range(_GREYS)]
    colours = [*greys, _NO_VALUE, _OUTSIDE, _EMPTY, _MARK]
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in colours for part in colour])
    return palette


def picture(shown: Triplet) -> Image.Image:
    """Return the three images with their names, a scale, and what the alert says of itself."""
    width, height = 3 * EDGE + 4 * GAP, TITLE + EDGE + CAPTION
    sheet = Image.new("RGB", (width, height))
    sheet.paste(strip(shown, EDGE, GAP), (GAP, TITLE))
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(14), ImageFont.load_default(12)
    for column, name in enumerate(NAMES):
        left = GAP + column * (EDGE + GAP)
        title = "difference (white: brighter now)" if name == "Difference" else name.lower()
        draw.text((left + 2, TITLE / 2), title, _TEXT, large, "lm")
        if name not in shown.panels:
            cause = shown.causes.get(name, "none")
            draw.text((left + EDGE / 2, TITLE + EDGE / 2), cause, _FAINT, small, "mm")
    line, right = TITLE + EDGE + 13, width - GAP - 2
    draw.text((GAP + 2, line), shown.caption[0], _TEXT, large, "lm")
    draw.text((GAP + 2, line + 19), shown.caption[1], _FAINT, small, "lm")
    # How wide what is seen is on the sky, deg; 0 if it is not known.
    widths = {
        round((panel.stamp.sky.scale or 0) * panel.side, 9) for panel in shown.panels.values()
    }
    if widths and 0 not in widths:
        draw.text((right, line + 19), "N up, E left", _FAINT, small, "rm")
    elif widths == {0}:
        draw.text((right, line + 19), "not turned: no WCS", _FAINT, small, "rm")
    if len(widths) == 1 and (across := widths.pop()):
        _draw_scale(draw, across * 3600, (right, line), small)
    return sheet


def below_each_other(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return pictures of the same width as one."""
    sheet = Image.new("RGB", (pictures[0].width, sum(each.height for each in pictures)))
    top = 0
    for each in pictures:
        sheet.paste(each, (0, top))
        top += each.height
    return sheet


def _draw_scale(draw: ImageDraw.ImageDraw, across: float, end: tuple[int, int], font: Any) -> None:
    """Draw how long a round number of arcseconds is, in images that are ``across`` wide."""
    power = 10 ** math.floor(math.log10(across / 4))
    length = next(each for each in (5, 2, 1) if each * power <= across / 4) * power
    right, middle = end
    left = right - EDGE * length / across
    draw.line([left, middle, right, middle], _TEXT, 2)
    draw.text((left - 6, middle), f'{length:g}"', _TEXT, font, "rm")
