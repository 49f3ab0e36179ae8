"""An alert's cutouts as a picture: science, template and difference side by side.

Each is turned north up and east left by the WCS in its FITS header, at the scale of its pixels, so
what a turn moves out of the square is not shown. Where there is no WCS, the rows go upwards. The
brightness is an asinh of the pixels. The bytes come from a stream, so what they ask for in memory
is bounded, and all that is wrong with them is a :class:`PictureError`.
"""

from __future__ import annotations

import io
import math
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from alertstream.alert.cutouts import cutouts
from alertstream.alert.survey import Alert
from alertstream.errors import PictureError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    Pixels = NDArray[np.float32]
    Matrix = tuple[tuple[float, float], tuple[float, float]]

NAMES = ("Science", "Template", "Difference")
MAX_PIXELS = 2048 * 2048
MAX_BYTES = 32 * 1024 * 1024
"""Bytes of a FITS file, decompressed, that are looked at."""
MAX_HEADER = 256 * 1024
FITS_BLOCK = 2880
"""Bytes of which a FITS header fills a whole number (FITS Standard 4.0, section 3.1)."""
EDGE = 240
"""Edge length of an image in a picture, pixel."""
FINEST = 8
"""How many times finer an image is drawn before it is made smaller."""
GAP = 8
TITLE, CAPTION = 24, 46
"""Height of what is written above and below the images, pixel."""

_NO_VALUE = (58, 70, 98)
_OUTSIDE = (20, 22, 28)
_EMPTY = (38, 41, 50)
_MARK = (196, 152, 12)
_TEXT = (235, 235, 235)
_FAINT = (165, 165, 165)
_GREYS = 128
_GZIP = b"\x1f\x8b"
_BITPIX = (8, 16, 32, 64, -32, -64)
_SIGMAS_OF_MAD = 1.4826
_LONGEST = 60
_WCS_KEYS = (
    *("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CUNIT1", "CUNIT2", "CDELT1", "CDELT2", "CROTA2"),
    *("CD1_1", "CD1_2", "CD2_1", "CD2_2", "PC1_1", "PC1_2", "PC2_1", "PC2_2"),
)


@dataclass(frozen=True)
class Stamp:
    """A cutout's pixels, and how they lie on the sky.

    :param pixels: rows from the bottom; NaN where there is no value.
    :param unit: the pixels' unit, as the header states it; empty if it does not.
    :param matrix: from pixels to degrees east and north, None if not known.
    :param place: the source, in pixels from the left and lower edge.
    """

    pixels: Pixels
    unit: str
    matrix: Matrix | None
    place: tuple[float, float]


@dataclass(frozen=True)
class Triplet:
    """An alert's images that can be shown, why others cannot, and what is written below them."""

    images: Mapping[str, Image]
    views: Mapping[str, _View]
    causes: Mapping[str, str]
    caption: tuple[str, str]


def require_libraries() -> None:
    """Import what pictures need, so that it is known to be there.

    :raises UsageError: it is not.
    """
    try:
        with warnings.catch_warnings():
            # astropy warns of folders for its settings, of which none are needed.
            warnings.simplefilter("ignore")
            for name in ("astropy.io.fits", "astropy.wcs", "PIL.ImageDraw", "PIL.ImageFont"):
                import_module(name)
    except ImportError as error:
        raise UsageError(
            "pictures need Pillow and astropy", todo="pip install 'alertstream[images]'"
        ) from error


def triplet(alert: Alert) -> Triplet | None:
    """Return what can be shown of the alert's cutouts; None if it has none.

    :raises ArithmeticError, TypeError, ValueError: what it says of itself has odd types.
    """
    caption = _caption(alert)
    stamps: dict[str, Stamp] = {}
    causes: dict[str, str] = {}
    for name, _, content in cutouts(alert):
        try:
            stamps[name] = read_stamp(content, alert.ra, alert.dec)
        except PictureError as error:
            causes[name] = error.what
    if not stamps and not causes:
        return None
    views = {name: _View.of(stamp) for name, stamp in stamps.items()}
    return Triplet(_stretched(stamps), views, causes, caption)


def _caption(alert: Alert) -> tuple[str, str]:
    magnitude = " mag" if alert.magnitude > 0 else ""
    snr = f"{alert.snr:.1f}" if math.isfinite(alert.snr) else "-"
    time = alert.utc if math.isfinite(alert.mjd) else "-"
    parts = (
        f"{alert.band or '-'}",
        f"{' '.join(alert.brightness.split())}{magnitude}",
        f"SNR {snr}",
        time if time.startswith(("MJD", "-")) else f"{time} UTC",
    )
    return _short("  ·  ".join(map(_short, parts)), 100), _short(f"{alert.source_id}")


def _short(text: str, longest: int = _LONGEST) -> str:
    """Return a text from a stream as a line that has its place."""
    line = "".join(each if each.isprintable() else "?" for each in text[: longest + 1])
    return line if len(line) <= longest else f"{line[:longest]}..."


def read_stamp(content: bytes, ra: float = math.nan, dec: float = math.nan) -> Stamp:
    """Return the first image of a FITS file, which may be gzipped.

    :param ra: the source's right ascension, deg, if it is known; else it is in the middle.
    :param dec: its declination, deg.
    :raises PictureError: there is no image of two dimensions, or nothing in it, or too much.
    """
    from astropy.io import fits

    data = _gunzipped(content) if content.startswith(_GZIP) else content
    if not data.startswith(b"SIMPLE"):
        raise PictureError("no FITS file")
    try:
        with warnings.catch_warnings():
            # What astropy warns of is not an astronomer's doing, and would be told for each alert.
            warnings.simplefilter("ignore")
            place, (header, start) = 0, _header_at(data, 0)
            if header.get("NAXIS") == 0 and start < len(data):
                place, (header, start) = 1, _header_at(data, start)
            # Before astropy makes anything of it: it would count to whatever NAXIS says.
            _check(header, len(data) - start)
            with fits.open(
                io.BytesIO(data), memmap=False, disable_image_compression=True, cache=False
            ) as file:
                if not file[place].is_image:
                    raise PictureError("no image of two dimensions")
                pixels = _values(file[place].data)
            matrix, source = _on_the_sky(header, ra, dec)
            unit = header.get("BUNIT")
    except PictureError:
        raise
    except Exception as error:
        # There is no telling what astropy raises for what nobody has written on purpose.
        raise PictureError("a FITS file that is damaged") from error
    rows, columns = pixels.shape
    x, y = source or (math.nan, math.nan)
    if not (0 <= x <= columns and 0 <= y <= rows):
        x, y = columns / 2, rows / 2
    return Stamp(pixels, unit if isinstance(unit, str) else "", matrix, (x, y))


def _gunzipped(content: bytes) -> bytes:
    try:
        inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        data = inflate.decompress(content, MAX_BYTES)
    except zlib.error as error:
        raise PictureError("gzip that is damaged") from error
    if inflate.unconsumed_tail:
        raise PictureError(f"more than {MAX_BYTES >> 20} MiB when decompressed")
    return data


def _header_at(data: bytes, start: int) -> tuple[Any, int]:
    """Return the header that starts in a FITS file's byte ``start``, and where its data do."""
    from astropy.io.fits import Header

    # astropy would look for the end through all of the data, again for each block.
    for at in range(start, min(len(data), start + MAX_HEADER), 80):
        if data[at : at + 8] == b"END     ":
            blocks = math.ceil((at + 80 - start) / FITS_BLOCK)
            return Header.fromstring(data[start : at + 80]), start + blocks * FITS_BLOCK
    raise PictureError("a FITS header without an end")


def _check(header: Any, size: int) -> None:
    """Refuse an image that is none, or that claims more pixels than the ``size`` bytes hold."""
    if header.get("NAXIS") != 2:
        raise PictureError("no image of two dimensions")
    columns, rows, bits = header.get("NAXIS1"), header.get("NAXIS2"), header.get("BITPIX")
    if not all(type(each) is int for each in (columns, rows, bits)) or bits not in _BITPIX:
        raise PictureError("a FITS header that states no size")
    if columns < 1 or rows < 1:
        raise PictureError("an image without pixels")
    if columns * rows * abs(bits) // 8 > size:
        raise PictureError("an image that is cut short")
    if columns * rows > MAX_PIXELS or max(columns, rows) > 64 * min(columns, rows):
        raise PictureError("an image too large to be shown")


def _values(data: Any) -> Pixels:
    """Return pixels as numbers to draw: NaN for what is no number, or beyond all stars."""
    import numpy as np

    with np.errstate(all="ignore"):
        pixels: Pixels = np.asarray(data, dtype=np.float32).copy()
    if pixels.ndim != 2:
        raise PictureError("no image of two dimensions")
    pixels[~(np.abs(pixels) < 1e30)] = np.nan
    if np.isnan(pixels).all():
        raise PictureError("an image without any value")
    return pixels


def _on_the_sky(
    header: Any, ra: float, dec: float
) -> tuple[Matrix | None, tuple[float, float] | None]:
    """Return the matrix from pixels to degrees, and the source's place, as far as they are known.

    Of the header only the linear part of a celestial WCS is used: its axes are right ascension and
    declination in this order, and over a cutout a distortion turns nothing that could be seen.
    """
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    types = [str(header.get(name, "")) for name in ("CTYPE1", "CTYPE2")]
    if not (types[0].startswith("RA--") and types[1].startswith("DEC-")):
        return None, None
    linear = Header({"NAXIS": 2, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    linear.update({key: header[key] for key in _WCS_KEYS if key in header})
    try:
        wcs = WCS(linear)
        (a, b), (c, d) = wcs.pixel_scale_matrix.tolist()
        determinant = abs(a * d - b * c)
        if not (1e-16 < determinant < 1 and a * a + b * b + c * c + d * d < 4 * determinant):
            return None, None
        x, y = wcs.wcs_world2pix([[ra, dec]], 0)[0].tolist()
    except Exception:
        # As with astropy's readers. An image is shown without them, too.
        return None, None
    return ((a, b), (c, d)), (x + 0.5, y + 0.5)


def _stretched(stamps: Mapping[str, Stamp]) -> dict[str, Image]:
    """Return pixels as brightness; science and template share a scale if they share a unit."""
    images = {}
    brightness = [stamps[name] for name in ("Science", "Template") if name in stamps]
    shared = len({each.unit for each in brightness if each.unit}) == 1
    for name, stamp in stamps.items():
        if name == "Difference":
            level = _about_zero(stamp.pixels)
        else:
            together = [each.pixels for each in brightness] if shared else [stamp.pixels]
            level = _from_sky(stamp.pixels, together)
        images[name] = _in_grey(level)
    return images


def _about_zero(pixels: Pixels) -> Pixels:
    """Return brightness, 0 to 1: 0.5 where a difference is zero, more where it is positive."""
    import numpy as np

    size = np.abs(pixels[np.isfinite(pixels)])
    noise = _SIGMAS_OF_MAD * float(np.median(size))
    end = max(float(np.percentile(size, 99.8)), 6 * noise) or 1.0
    soft = 3 * noise or end
    level: Pixels = 0.5 + 0.5 * np.arcsinh(pixels / soft) / math.asinh(end / soft)
    return level


def _from_sky(pixels: Pixels, together: list[Pixels]) -> Pixels:
    """Return brightness, 0 to 1, from below the sky to the brightest of all images ``together``."""
    import numpy as np

    values = np.concatenate([each[np.isfinite(each)] for each in together])
    sky = float(np.median(values))
    noise = _SIGMAS_OF_MAD * float(np.median(np.abs(values - sky)))
    low = sky - 2 * noise
    height = max(float(np.percentile(values, 99.8)) - low, 12 * noise) or 1.0
    soft = 4 * noise or height
    level: Pixels = np.arcsinh((pixels - low) / soft) / math.asinh(height / soft)
    return level


def _in_grey(level: Pixels) -> Image:
    import numpy as np
    from PIL import Image

    bright = np.clip(np.nan_to_num(level), 0, 1) * 255
    coloured = np.repeat(bright.astype(np.uint8)[:, :, None], 3, axis=2)
    coloured[np.isnan(level)] = _NO_VALUE
    return Image.fromarray(coloured)


@dataclass(frozen=True)
class _View:
    """How an image is looked at, in its own pixels from the middle.

    :param side: the edge of the square that is seen, pixel.
    :param right: the step of a pixel to the right, along columns and rows.
    :param down: that of a pixel downwards.
    :param source: the source, pixels to the right and downwards from the middle.
    :param scale: degrees a pixel; None if north is not known, and the rows go upwards.
    """

    side: int
    right: tuple[float, float]
    down: tuple[float, float]
    source: tuple[float, float]
    scale: float | None

    @classmethod
    def of(cls, stamp: Stamp) -> _View:
        rows, columns = stamp.pixels.shape
        right, down, scale = (1.0, 0.0), (0.0, -1.0), None
        if stamp.matrix:
            (a, b), (c, d) = stamp.matrix
            determinant = a * d - b * c
            scale = math.sqrt(abs(determinant))
            right = (-d * scale / determinant, c * scale / determinant)
            down = (b * scale / determinant, -a * scale / determinant)
        x, y = stamp.place[0] - columns / 2, stamp.place[1] - rows / 2
        turn = right[0] * down[1] - right[1] * down[0]
        source = (x * down[1] - y * down[0]) / turn, (y * right[0] - x * right[1]) / turn
        return cls(max(rows, columns), right, down, source, scale)


def seen(image: Image, view: _View, edge: int) -> Image:
    """Return a square of ``edge`` pixels of an image, turned north up if that is known."""
    from PIL import Image as images

    # What is drawn finer and then made smaller has smooth edges.
    finer = min(max(2, math.ceil(2 * view.side / edge)), FINEST)
    fine = finer * edge
    step = view.side / fine
    corner = (-fine / 2 * step, -fine / 2 * step)
    (a, d), (b, e) = view.right, view.down
    c = image.width / 2 + corner[0] * a + corner[1] * b
    f = image.height / 2 + corner[0] * d + corner[1] * e
    turned = image.transform(
        (fine, fine),
        images.Transform.AFFINE,
        (a * step, b * step, c, d * step, e * step, f),
        images.Resampling.NEAREST,
        fillcolor=_OUTSIDE,
    )
    return turned.reduce(finer)


def strip(shown: Triplet, edge: int, gap: int, marked: bool = True) -> Image:
    """Return the three images, or their empty places, ``edge`` pixels each, ``gap`` between.

    :param marked: the source's place is marked.
    """
    from PIL import Image as images

    sheet = images.new("RGB", (3 * edge + 2 * gap, edge), (0, 0, 0))
    for column, name in enumerate(NAMES):
        at = (column * (edge + gap), 0)
        if name in shown.images:
            sheet.paste(seen(shown.images[name], shown.views[name], edge), at)
            if marked:
                _mark(sheet, at[0], edge, shown.views[name])
        else:
            sheet.paste(_EMPTY, (*at, at[0] + edge, edge))
    return sheet


def _mark(sheet: Image, left: int, edge: int, view: _View) -> None:
    """Draw two short lines towards the source, from the right and from above."""
    from PIL import ImageDraw

    x, y = (edge / 2 + part * edge / view.side for part in view.source)
    near, far = edge / 15, edge / 8
    for start, end in (((x + near, y), (x + far, y)), ((x, y - near), (x, y - far))):
        if all(0 <= part < edge for part in (*start, *end)):
            line = [left + start[0], start[1], left + end[0], end[1]]
            ImageDraw.Draw(sheet).line(line, _MARK, 1)


def png(image: Image) -> bytes:
    """Return an image that has the colours of pictures as a PNG file."""
    from PIL.Image import Dither

    stream = io.BytesIO()
    # A palette takes half the room and a third of the time that three colours a pixel take.
    image.quantize(palette=_palette(), dither=Dither.NONE).save(stream, "PNG", compress_level=4)
    return stream.getvalue()


@cache
def _palette() -> Image:
    from PIL import Image as images

    greys = [(round(255 * each / (_GREYS - 1)),) * 3 for each in range(_GREYS)]
    colours = [*greys, _NO_VALUE, _OUTSIDE, _EMPTY, _MARK]
    palette = images.new("P", (1, 1))
    palette.putpalette([part for colour in colours for part in colour])
    return palette


def picture(shown: Triplet) -> Image:
    """Return the three images with their names, a scale, and what the alert says of itself."""
    from PIL import Image as images
    from PIL import ImageDraw, ImageFont

    width, height = 3 * EDGE + 4 * GAP, TITLE + EDGE + CAPTION
    sheet = images.new("RGB", (width, height), (0, 0, 0))
    sheet.paste(strip(shown, EDGE, GAP), (GAP, TITLE))
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(14), ImageFont.load_default(12)
    for column, name in enumerate(NAMES):
        left = GAP + column * (EDGE + GAP)
        title = "difference (white: brighter now)" if name == "Difference" else name.lower()
        draw.text((left + 2, TITLE / 2), title, _TEXT, large, "lm")
        if name not in shown.images:
            cause = shown.causes.get(name, "none")
            middle = (left + EDGE / 2, TITLE + EDGE / 2)
            draw.text(middle, cause, _FAINT, small, "mm")
    line = TITLE + EDGE + 13
    draw.text((GAP + 2, line), shown.caption[0], _TEXT, large, "lm")
    draw.text((GAP + 2, line + 19), shown.caption[1], _FAINT, small, "lm")
    draw.text((width - GAP - 2, line + 19), _orientation(shown), _FAINT, small, "rm")
    _scale_bar(draw, shown, (width - GAP - 2, line), small)
    return sheet


def _orientation(shown: Triplet) -> str:
    known = [view.scale is not None for view in shown.views.values()]
    if not known:
        return ""
    return "N up, E left" if all(known) else "not turned: no WCS" if not any(known) else ""


def _scale_bar(draw: ImageDraw, shown: Triplet, end: tuple[float, float], font: Any) -> None:
    """Draw how long a round number of arcseconds is, if that is the same in all images."""
    zooms = {round(view.scale * view.side, 9) for view in shown.views.values() if view.scale}
    if len(zooms) != 1 or len(shown.views) != sum(1 for v in shown.views.values() if v.scale):
        return
    across = zooms.pop() * 3600
    if not across > 0:
        return
    power = 10 ** math.floor(math.log10(across / 4))
    length = next(each for each in (5, 2, 1) if each * power <= across / 4) * power
    right, middle = end
    text = f'{length:g}"'
    draw.line([right - EDGE * length / across, middle, right, middle], _TEXT, 2)
    draw.text((right - EDGE * length / across - 6, middle), text, _TEXT, font, "rm")
