"""Cutouts as pictures: each is right side up, on a common scale, or refused with a reason."""

from __future__ import annotations

import gzip
import io
import math
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image
from tests.support.images import BROKEN, GOOD, SQUARE, fits_file, imaged

from alertstream.alert.alert import Alert
from alertstream.alert.pictures import Triplet, picture, png, strip, triplet
from alertstream.alert.stamps import Sky, read_stamp
from alertstream.errors import PictureError

NO_VALUE, OUTSIDE = (58, 70, 98), (20, 22, 28)


def shown(alert: Alert) -> Triplet:
    made = triplet(alert)
    assert made is not None
    return made


def test_an_image_is_read_with_its_unit() -> None:
    stamp = read_stamp(fits_file(SQUARE, BUNIT="nJy"))
    assert np.array_equal(stamp.pixels, SQUARE)
    assert (stamp.unit, stamp.sky) == ("nJy", Sky(False, 0.0, None, (0.0, 0.0)))
    zipped = read_stamp(gzip.compress(fits_file(SQUARE)))
    assert np.array_equal(zipped.pixels, SQUARE)


@pytest.mark.parametrize("kind", ["u1", ">i2", ">i4", ">i8", ">u2", ">f4", ">f8"])
def test_pixels_of_every_type(kind: str) -> None:
    pixels = np.arange(12).reshape(3, 4).astype(kind)
    assert np.array_equal(read_stamp(fits_file(pixels)).pixels, pixels)


def test_image_in_the_first_extension() -> None:
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(SQUARE)]).writeto(stream)
    assert np.array_equal(read_stamp(stream.getvalue()).pixels, SQUARE)


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_image_says_so_and_takes_no_memory(name: str) -> None:
    content, cause = BROKEN[name]
    tracemalloc.start()
    try:
        with pytest.raises(PictureError) as error:
            read_stamp(content)
        assert error.value.what == cause
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("seed", range(3))
def test_damaged_images_are_pictures_or_errors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    north = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": -30.0}
    whole = fits_file(SQUARE, **north, CRPIX1=16.0, CRPIX2=16.0, CD1_1=-5e-5, CD2_2=5e-5)
    for _ in range(100):
        spoilt = bytearray(whole)
        for at in rng.integers(0, 1200, rng.choice([1, 3, 10])):
            spoilt[at] = rng.choice(list(b"0123456789E-.' T\0\xff"))
        png(picture(shown(imaged(cutoutScience=bytes(spoilt)))))


@pytest.mark.parametrize("value", [0.0, 5.0, -1e29, 1e-30])
def test_constant_images_are_shown(value: float) -> None:
    content = fits_file(np.full((9, 9), value))
    made = shown(imaged(cutoutScience=content, cutoutDifference=content))
    assert not made.causes
    colours = made.panels["Difference"].drawn(24).getcolors()
    assert colours is not None
    assert len(colours) == 1


def test_pixels_that_differ_in_all_they_can_are_shown() -> None:
    pixels = np.random.default_rng(1).normal(0, 1e-30, (30, 30))
    pixels[5, 5] = 9e29
    content = fits_file(pixels)
    made = shown(imaged(cutoutScience=content, cutoutDifference=content))
    for panel in made.panels.values():
        assert np.asarray(panel.image)[24, 5, 0] == 255


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (60, 2), (400, 300)])
def test_any_shape_has_its_place(shape: tuple[int, int]) -> None:
    made = shown(imaged(cutoutScience=fits_file(np.ones(shape))))
    assert picture(made).size == (752, 310)


TURNS = [(angle, parity) for angle in (0, 37, 90, 200, 315) for parity in (1, -1)]


@pytest.mark.parametrize(("angle", "parity"), TURNS)
@pytest.mark.parametrize("form", ["CD", "PC", "PC without CTYPE"])
def test_north_is_up_and_east_is_left(angle: float, parity: int, form: str) -> None:
    turn = math.radians(angle)
    # A pixel is 1"; the columns of the matrix are where the axes of the image point on the sky.
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    matrix = np.array([[-1, 0], [0, 1]]) @ matrix @ np.array([[parity, 0], [0, 1]]) / 3600
    cards: dict[str, Any] = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    if "without" in form:
        # As LSST's are.
        cards, form = {"WCSAXES": 2, "LATPOLE": 90.0}, "PC"
    cards |= {"CRVAL1": 10.0, "CRVAL2": -30.0, "CRPIX1": 21.0, "CRPIX2": 21.0}
    if form == "PC":
        cards |= {"CDELT1": 2 / 3600, "CDELT2": 2 / 3600}
        matrix *= 1800
    for row in (1, 2):
        for column in (1, 2):
            cards[f"{form}{row}_{column}"] = float(matrix[row - 1, column - 1])
    east, north = 8.0, 4.0
    along = np.linalg.solve(matrix * (1 / 1800 if form == "PC" else 1), [east / 3600, north / 3600])
    pixels = np.zeros((41, 41), "f4")
    pixels[round(20 + along[1]) - 1 :, :][:3, round(20 + along[0]) - 1 :][:, :3] = 100
    dec = -30 + north / 3600
    ra = 10 + east / 3600 / math.cos(math.radians(dec))
    alert = imaged(cutoutScience=fits_file(pixels, **cards))
    alert["diaSource"] |= {"ra": ra, "dec": dec}
    made = shown(alert)
    drawn = np.asarray(made.panels["Science"].drawn(246).convert("L"), float)
    rows, columns = np.nonzero(drawn > 200)
    assert columns.mean() == pytest.approx(123 - 6 * east, abs=5)
    assert rows.mean() == pytest.approx(123 - 6 * north, abs=5)
    sky = made.panels["Science"].stamp.sky
    assert sky.source == pytest.approx((-east, north), abs=0.02)
    assert sky.scale == pytest.approx(1 / 3600)


@pytest.mark.parametrize(
    "cards",
    [
        {"CD1_1": 1e-4, "CD1_2": 1e-4, "CD2_1": 1e-4, "CD2_2": 1e-4},
        {"CD1_1": 1e-4, "CD1_2": 1e-1, "CD2_1": 0.0, "CD2_2": 1e-4},
        {"CD1_1": 1e300, "CD2_2": 1e300},
        {"CD1_1": "x", "CD2_2": 1e-4},
        {"CD1_1": 1e-4, "CD2_2": 1e-4, "CRPIX1": 1e300},
        {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"},
        {"CTYPE1": 7, "CTYPE2": "DEC--TAN"},
        {"CUNIT1": "furlong", "CD1_1": 1e-4, "CD2_2": 1e-4},
    ],
)
def test_odd_wcs_leaves_the_source_in_the_middle(cards: dict[str, Any]) -> None:
    stated = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": -30.0} | cards
    made = shown(imaged(cutoutScience=fits_file(SQUARE, **stated)))
    assert made.panels["Science"].stamp.sky.source == pytest.approx((0, 0))
    assert picture(made).size == (752, 310)


@pytest.mark.parametrize(
    "cards",
    [
        {"CRVAL1": 10.0, "CRVAL2": -29.0, "CD1_1": -1e-4, "CD2_2": 1e-4},
        {"CRVAL1": 100.0, "CRVAL2": -30.0, "CD1_1": -1e-4, "CD2_2": 1e-4},
        {"CRVAL1": 10.0, "CRVAL2": -30.0},
        {"CRVAL1": 10.0, "CRVAL2": -30.0, "CD1_1": -1e-4, "CD2_2": 1e-4, "CTYPE2": "FREQ"},
        {"CD1_1": -1e-4, "CD2_2": 1e-4},
    ],
)
def test_axes_without_names_are_of_the_sky_only_if_the_source_is_there(
    cards: dict[str, Any],
) -> None:
    stamp = read_stamp(fits_file(SQUARE, CRPIX1=16.0, CRPIX2=16.0, **cards), 10.0, -30.0)
    assert stamp.sky == Sky()


def test_without_wcs_rows_go_upwards() -> None:
    pixels = np.zeros((30, 30), "f4")
    pixels[25:28, 2:5] = 100
    made = shown(imaged(cutoutScience=fits_file(pixels)))
    drawn = np.asarray(made.panels["Science"].drawn(60).convert("L"))
    assert drawn[6, 6] == 255
    assert drawn[50, 50] < 100


def test_white_is_brighter_now_and_no_value_is_neither() -> None:
    pixels = np.zeros((30, 30), "f4")
    pixels[5, 5], pixels[5, 20], pixels[20, 5] = 50, -50, np.nan
    made = shown(imaged(cutoutDifference=fits_file(pixels)))
    colours = np.asarray(made.panels["Difference"].image).astype(int)[::-1]
    assert colours[5, 5, 0] == 255
    assert colours[5, 20, 0] == 0
    assert tuple(colours[20, 5]) == NO_VALUE
    assert colours[0, 0, 0] == 127


@pytest.mark.parametrize(("sign", "grey"), [("t", 255), ("f", 0)])
def test_the_difference_of_ztf_is_black_where_it_became_fainter(sign: str, grey: int) -> None:
    pixels = np.zeros((30, 30), "f4")
    pixels[15, 15] = 50
    candidate = {"magpsf": 18.9, "sigmapsf": 0.1, "isdiffpos": sign}
    stamp = {"fileName": "a", "stampData": gzip.compress(fits_file(pixels))}
    made = shown(Alert({"candidate": candidate, "cutoutDifference": stamp}))
    assert np.asarray(made.panels["Difference"].image)[14, 15, 0] == grey
    assert ("(fainter)" in made.caption[0]) is (sign == "f")


def test_science_and_template_share_a_scale_if_they_share_a_unit() -> None:
    faint = np.zeros((30, 30), "f4")
    faint[10:13, 10:13] = 10
    bright = faint * 100
    for unit, same in (("nJy", False), ("", True)):
        cards = {"BUNIT": unit} if unit else {}
        alert = imaged(
            cutoutScience=fits_file(bright, **cards), cutoutTemplate=fits_file(faint, **cards)
        )
        panels = shown(alert).panels
        tops = [np.asarray(panels[name].image).max() for name in ("Science", "Template")]
        assert bool(tops[0] == tops[1]) is same


def test_missing_images_leave_their_place_empty() -> None:
    assert triplet(imaged(cutoutScience=None)) is None
    made = shown(imaged(cutoutScience=GOOD, cutoutTemplate=b"junk"))
    assert made.causes == {"Template": "not a FITS file"}
    assert set(made.panels) == {"Science"}
    drawn = strip(made, 20, 2)
    assert drawn.size == (64, 20)
    assert len(drawn.crop((0, 0, 20, 20)).getcolors() or ()) > 5
    for left in (22, 44):
        assert len(drawn.crop((left, 0, left + 20, 20)).getcolors() or ()) == 1


@pytest.mark.parametrize("band", [None, "r" * 5000, "\x1b[2J\n\0", "é漢\U0001f600", "\ud800"])
def test_any_text_is_written_in_its_place(band: str | None) -> None:
    alert = imaged(cutoutScience=GOOD)
    nothing = {"snr": None, "psfFlux": math.nan, "midpointMjdTai": 1e300, "ra": None}
    alert["diaSource"] |= {"band": band, **nothing}
    made = shown(alert)
    assert "  ·  -  ·  SNR -  ·  MJD 1000" in made.caption[0]
    assert len(made.caption[0]) <= 103
    assert made.caption[0].isprintable()
    with Image.open(io.BytesIO(png(picture(made)))) as image:
        assert image.size == (752, 310)


def test_caption() -> None:
    made = shown(imaged(cutoutScience=GOOD))
    time = "2025-11-21 11:59:23 UTC"
    assert made.caption == (f"r  ·  22.500 ± 0.011 mag  ·  SNR 12.3  ·  {time}", "7")
    nothing = imaged(cutoutScience=GOOD)
    nothing["diaSource"] = {}
    assert shown(nothing).caption == ("-  ·  -  ·  SNR -  ·  -", "None")


def test_pictures_write_no_settings(tmp_path: Path) -> None:
    """As matplotlib does where it is imported: it makes a folder for its own."""
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path / "new")}
    code = "import alertstream.alert.pictures"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
