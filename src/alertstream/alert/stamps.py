"""A cutout's FITS file to pixels and their orientation on the sky; hostile bytes to an error.

The bytes come from a stream, so the memory that they ask for is bounded, and whatever is wrong
with them is a :class:`PictureError`.
"""

from __future__ import annotations

import cmath
import io
import math
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

from alertstream.errors import PictureError
from alertstream.system.extras import extra

with extra("images", "pictures"):
    import numpy as np
    from astropy.io import fits
    from astropy.wcs import WCS
    from numpy.typing import NDArray

Pixels = NDArray[np.float32]

MAX_BYTES = 32 * 1024 * 1024
"""Bytes of a FITS file, decompressed, that are read."""
MAX_HEADER = 256 * 1024
MAX_PIXELS = 2048 * 2048
MAX_ASPECT = 64
MAX_VALUE = 1e30

_GZIP = b"\x1f\x8b"
_BITPIX = (8, 16, 32, 64, -32, -64)
_LINEAR_WCS = (
    *("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CUNIT1", "CUNIT2", "CDELT1", "CDELT2", "CROTA2"),
    *("CD1_1", "CD1_2", "CD2_1", "CD2_2", "PC1_1", "PC1_2", "PC2_1", "PC2_2"),
)


@dataclass(frozen=True)
class Sky:
    """How an image, rows upwards, is turned north up and east left, if its WCS is known.

    :param mirrored: whether it is first mirrored, left to right.
    :param angle: by how much it is then turned counterclockwise, deg.
    :param scale: degrees a pixel.
    :param source: the source, in pixels to the right and up from the middle, once it is turned.
    """

    mirrored: bool = False
    angle: float = 0.0
    scale: float | None = None
    source: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Stamp:
    """A cutout's pixels, and how they lie on the sky.

    :param pixels: rows from the bottom; NaN where there is no value.
    :param unit: the pixels' unit, as the header states it; empty if it does not.
    """

    pixels: Pixels
    unit: str
    sky: Sky


def read_stamp(content: bytes, ra: float = math.nan, dec: float = math.nan) -> Stamp:
    """Return the first image of a FITS file, which may be gzipped.

    :param ra: the source's right ascension, deg, if it is known; else it is in the middle.
    :param dec: its declination, deg.
    :raises PictureError: there is no image of two dimensions, or nothing in it, or too much.
    """
    data = _gunzipped(content) if content.startswith(_GZIP) else content
    if not data.startswith(b"SIMPLE"):
        raise PictureError("not a FITS file")
    try:
        with warnings.catch_warnings(action="ignore"):
            # astropy's warnings do not help a stream's reader, and would come for each alert.
            return _stamp(data, ra, dec)
    except PictureError:
        raise
    except Exception as error:
        # On damaged bytes, astropy raises errors of any type.
        raise PictureError("a damaged FITS file") from error


def _gunzipped(content: bytes) -> bytes:
    try:
        inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        data = inflate.decompress(content, MAX_BYTES)
    except zlib.error as error:
        raise PictureError("damaged gzip data") from error
    if inflate.unconsumed_tail:
        raise PictureError(f"more than {MAX_BYTES >> 20} MiB when decompressed")
    return data


def _stamp(data: bytes, ra: float, dec: float) -> Stamp:
    """Return the image in the file's first unit, or in the second if the first has no data."""
    number, (header, start) = 0, _header(data, 0)
    if header.get("NAXIS") == 0 and start < len(data):
        number, (header, start) = 1, _header(data, start)
    # Before astropy parses it, which would count up to whatever NAXIS says.
    _check_size(header, len(data) - start)
    pixels = _values(
        fits.getdata(io.BytesIO(data), number, memmap=False, disable_image_compression=True)
    )
    unit = header.get("BUNIT")
    sky = _on_the_sky(header, ra, dec, pixels.shape)
    return Stamp(pixels, unit if isinstance(unit, str) else "", sky)


def _header(data: bytes, start: int) -> tuple[Any, int]:
    """Return the header that starts in a FITS file's byte ``start``, and where its data do."""
    file = io.BytesIO(data[start : start + MAX_HEADER])
    return fits.Header.fromfile(file), start + file.tell()


def _check_size(header: Any, size: int) -> None:
    """Refuse what is not an image, or claims more pixels than the ``size`` bytes hold."""
    if header.get("NAXIS") != 2 or header.get("XTENSION", "IMAGE") != "IMAGE":
        raise PictureError("not a two-dimensional image")
    columns, rows, bits = header.get("NAXIS1"), header.get("NAXIS2"), header.get("BITPIX")
    if not all(type(each) is int for each in (columns, rows, bits)) or bits not in _BITPIX:
        raise PictureError("a FITS header without a valid size")
    if columns < 1 or rows < 1:
        raise PictureError("an image without pixels")
    if columns * rows * abs(bits) // 8 > size:
        raise PictureError("a truncated image")
    if columns * rows > MAX_PIXELS or max(columns, rows) > MAX_ASPECT * min(columns, rows):
        raise PictureError("an image too large to show")


def _values(data: Any) -> Pixels:
    """Return pixels as numbers to draw: NaN for what is not a number, or beyond all stars."""
    with np.errstate(all="ignore"):
        pixels = np.array(data, dtype=np.float32)
    pixels[~(np.abs(pixels) < MAX_VALUE)] = np.nan
    if np.isnan(pixels).all():
        raise PictureError("an image without any value")
    return pixels


def _on_the_sky(header: Any, ra: float, dec: float, shape: tuple[int, ...]) -> Sky:
    """Return how an image of a shape lies on the sky.

    Of the header only the linear part of a celestial WCS is used: its axes are right ascension and
    declination in this order, and over a cutout a distortion turns nothing that could be seen.
    LSST's headers do not name the axes: they are these if the source is then in the image.
    CRPIX counts from 1 there, too, as in all of FITS: it is where the source is seen.
    """
    types = [header.get(name) for name in ("CTYPE1", "CTYPE2")]
    named = str(types[0]).startswith("RA--") and str(types[1]).startswith("DEC-")
    if not named and (types != [None, None] or "CRVAL1" not in header):
        return Sky()
    linear = fits.Header({"NAXIS": 2, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    linear.update({key: header[key] for key in _LINEAR_WCS if key in header})
    try:
        wcs = WCS(linear)
        x, y = wcs.wcs_world2pix([[ra, dec]], 0)[0].tolist()
        (a, b), (c, d) = wcs.pixel_scale_matrix.tolist()
    except Exception:
        # As with astropy's readers. An image is shown without them, too.
        return Sky()
    determinant = a * d - b * c
    area = abs(determinant)
    if not (1e-16 < area < 1 and a * a + b * b + c * c + d * d < 4 * area):
        return Sky()
    # East is left of north on the sky: where it is right of it, the image is a mirror image.
    mirrored = determinant > 0
    side = -1 if mirrored else 1
    turn = 1j * determinant / complex(-b * side, a)
    turn /= abs(turn)
    source = complex((x - (shape[1] - 1) / 2) * side, y - (shape[0] - 1) / 2)
    if not (abs(source.real) <= shape[1] / 2 and abs(source.imag) <= shape[0] / 2):
        if not named:
            return Sky()
        source = 0j
    source *= turn
    angle = math.degrees(cmath.phase(turn))
    return Sky(mirrored, angle, math.sqrt(area), (source.real, source.imag))
