"""FITS images, good and broken, and an alert to carry them."""

from __future__ import annotations

import gzip
import io
from typing import Any

import numpy as np
from astropy.io import fits

from alertstream.alert.alert import Alert


def fits_file(pixels: Any, **cards: Any) -> bytes:
    stream = io.BytesIO()
    fits.PrimaryHDU(pixels, fits.Header(cards)).writeto(stream)
    return stream.getvalue()


def header(**cards: object) -> bytes:
    """A FITS header with just these cards, and space for some pixels after it."""
    stated = {"SIMPLE": "T", "BITPIX": -32, "NAXIS": 2, "NAXIS1": 3, "NAXIS2": 3} | cards
    lines = [f"{key:8}= {value!s:>20}" for key, value in stated.items()]
    return "".join(f"{line:80}" for line in [*lines, "END"]).ljust(2880).encode() + bytes(2880)


SQUARE = np.random.default_rng(1).normal(100, 5, (31, 31)).astype(">f4")


def table_file(kind: str) -> bytes:
    stream = io.BytesIO()
    column = fits.Column("a", "J", array=np.arange(9))
    table = fits.BinTableHDU.from_columns([column])
    hdu = table if kind == "table" else fits.CompImageHDU(np.ones((90, 90)))
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(stream)
    return stream.getvalue()


GOOD = fits_file(SQUARE)


COMMENTS = b"SIMPLE  =                    T".ljust(80) + b"COMMENT x".ljust(80) * 20_000


BROKEN = {
    "nothing": (b"", "not a FITS file"),
    "text": (b"<html>" * 1000, "not a FITS file"),
    "cut header": (GOOD[:400], "a damaged FITS file"),
    "cut pixels": (GOOD[:3000], "a truncated image"),
    "endless header": (COMMENTS, "a damaged FITS file"),
    "huge": (header(NAXIS1=100_000, NAXIS2=100_000), "a truncated image"),
    "huger": (header(NAXIS1=10**30), "a truncated image"),
    "huge and negative": (header(NAXIS1=-100_000, NAXIS2=-100_000), "an image without pixels"),
    "no pixels": (header(NAXIS1=0), "an image without pixels"),
    "size is text": (header(NAXIS1="'x'"), "a FITS header without a valid size"),
    "no size": (header(NAXIS2="'x'", BITPIX=-32), "a FITS header without a valid size"),
    "1 dimension": (fits_file(np.ones(9)), "not a two-dimensional image"),
    "3 dimensions": (fits_file(np.ones((3, 3, 3))), "not a two-dimensional image"),
    "999 dimensions": (header(NAXIS=999), "not a two-dimensional image"),
    "10**9 dimensions": (header(NAXIS=10**9), "not a two-dimensional image"),
    "60 digits of dimensions": (header(NAXIS=10**60), "not a two-dimensional image"),
    "no image": (fits_file(None), "not a two-dimensional image"),
    "a table": (table_file("table"), "not a two-dimensional image"),
    "BITPIX": (header(BITPIX=7), "a FITS header without a valid size"),
    "groups": (
        header(NAXIS1=0, GROUPS="T", PCOUNT=10**9, GCOUNT=10**9),
        "an image without pixels",
    ),
    "GCOUNT": (header(PCOUNT=10**12, GCOUNT=10**12), "a damaged FITS file"),
    "BSCALE": (header(BSCALE="'x'"), "a damaged FITS file"),
    "all NaN": (fits_file(np.full((9, 9), np.nan)), "an image without any value"),
    "all infinite": (fits_file(np.full((9, 9), -np.inf)), "an image without any value"),
    "beyond float32": (fits_file(np.full((9, 9), 1e300)), "an image without any value"),
    "a line": (fits_file(np.ones((1, 5000), "u1")), "an image too large to show"),
    "too large": (fits_file(np.ones((2100, 2100), "u1")), "an image too large to show"),
    "gzip cut": (gzip.compress(GOOD)[:40], "not a FITS file"),
    "gzip": (b"\x1f\x8b" + b"x" * 50, "damaged gzip data"),
    "gzip bomb": (
        gzip.compress(header() + bytes(100_000_000)),
        "more than 32 MiB when decompressed",
    ),
}


def imaged(**values: Any) -> Alert:
    """An LSST alert with these values besides its source, for example cutouts."""
    source = {"diaSourceId": 7, "ra": 10.0, "dec": -30.0, "band": "r", "snr": 12.3}
    source |= {"psfFlux": 3630.78, "psfFluxErr": 36.3, "midpointMjdTai": 61000.5}
    return Alert({"diaSource": source, **values})
