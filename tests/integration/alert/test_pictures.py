"""Pictures of cutouts: in files, in a terminal, and on a page; and what is no picture at all."""

from __future__ import annotations

import base64
import gzip
import io
import math
import re
import signal
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image
from tests.support import raw_kafka
from tests.support.commands import run, send_visits, start, stop, until
from tests.support.samples import official_schema, sample_alert, write_container
from tests.support.terminal import in_a_terminal
from tests.support.ztf import ztf_alert

from alertstream.alert.pictures import Triplet, picture, png, read_stamp, seen, strip, triplet
from alertstream.alert.survey import Alert
from alertstream.errors import DataError, PictureError
from alertstream.kafka.producer import Message
from alertstream.printing.html import LIMIT, LightCurve, Page, light_curve, measurements

NO_VALUE, OUTSIDE = (58, 70, 98), (20, 22, 28)


def fits_file(pixels: Any, **cards: Any) -> bytes:
    stream = io.BytesIO()
    fits.PrimaryHDU(pixels, fits.Header(cards)).writeto(stream)
    return stream.getvalue()


def header(**cards: object) -> bytes:
    """A FITS header with just these cards, and room for some pixels behind it."""
    stated = {"SIMPLE": "T", "BITPIX": -32, "NAXIS": 2, "NAXIS1": 3, "NAXIS2": 3} | cards
    lines = [f"{key:8}= {value!s:>20}" for key, value in stated.items()]
    return "".join(f"{line:80}" for line in [*lines, "END"]).ljust(2880).encode() + bytes(2880)


def lsst(**values: Any) -> Alert:
    source = {"diaSourceId": 7, "ra": 10.0, "dec": -30.0, "band": "r", "snr": 12.3}
    source |= {"psfFlux": 3630.78, "psfFluxErr": 36.3, "midpointMjdTai": 61000.5}
    return Alert({"diaSource": source, **values})


def shown(alert: Alert) -> Triplet:
    made = triplet(alert)
    assert made is not None
    return made


SQUARE = np.random.default_rng(1).normal(100, 5, (31, 31)).astype(">f4")


def test_an_image_is_read_with_its_unit() -> None:
    stamp = read_stamp(fits_file(SQUARE, BUNIT="nJy"))
    assert np.array_equal(stamp.pixels, SQUARE)
    assert (stamp.unit, stamp.matrix, stamp.place) == ("nJy", None, (15.5, 15.5))
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
    "nothing": (b"", "no FITS file"),
    "text": (b"<html>" * 1000, "no FITS file"),
    "cut header": (GOOD[:400], "a FITS header without an end"),
    "cut pixels": (GOOD[:3000], "an image that is cut short"),
    "endless header": (COMMENTS, "a FITS header without an end"),
    "huge": (header(NAXIS1=100_000, NAXIS2=100_000), "an image that is cut short"),
    "huger": (header(NAXIS1=10**30), "an image that is cut short"),
    "huge and negative": (header(NAXIS1=-100_000, NAXIS2=-100_000), "an image without pixels"),
    "no pixels": (header(NAXIS1=0), "an image without pixels"),
    "size is text": (header(NAXIS1="'x'"), "a FITS header that states no size"),
    "no size": (header(NAXIS2="'x'", BITPIX=-32), "a FITS header that states no size"),
    "1 dimension": (fits_file(np.ones(9)), "no image of two dimensions"),
    "3 dimensions": (fits_file(np.ones((3, 3, 3))), "no image of two dimensions"),
    "999 dimensions": (header(NAXIS=999), "no image of two dimensions"),
    "10**9 dimensions": (header(NAXIS=10**9), "no image of two dimensions"),
    "60 digits of dimensions": (header(NAXIS=10**60), "no image of two dimensions"),
    "no image": (fits_file(None), "no image of two dimensions"),
    "a table": (table_file("table"), "no image of two dimensions"),
    "BITPIX": (header(BITPIX=7), "a FITS header that states no size"),
    "groups": (
        header(NAXIS1=0, GROUPS="T", PCOUNT=10**9, GCOUNT=10**9),
        "an image without pixels",
    ),
    "GCOUNT": (header(PCOUNT=10**12, GCOUNT=10**12), "a FITS file that is damaged"),
    "BSCALE": (header(BSCALE="'x'"), "a FITS file that is damaged"),
    "all NaN": (fits_file(np.full((9, 9), np.nan)), "an image without any value"),
    "all infinite": (fits_file(np.full((9, 9), -np.inf)), "an image without any value"),
    "beyond float32": (fits_file(np.full((9, 9), 1e300)), "an image without any value"),
    "a line": (fits_file(np.ones((1, 5000), "u1")), "an image too large to be shown"),
    "too large": (fits_file(np.ones((2100, 2100), "u1")), "an image too large to be shown"),
    "gzip cut": (gzip.compress(GOOD)[:40], "no FITS file"),
    "gzip": (b"\x1f\x8b" + b"x" * 50, "gzip that is damaged"),
    "gzip bomb": (
        gzip.compress(header() + bytes(100_000_000)),
        "more than 32 MiB when decompressed",
    ),
}


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
        png(picture(shown(lsst(cutoutScience=bytes(spoilt)))))


@pytest.mark.parametrize("value", [0.0, 5.0, -1e29, 1e-30])
def test_constant_images_are_shown(value: float) -> None:
    content = fits_file(np.full((9, 9), value))
    made = shown(lsst(cutoutScience=content, cutoutDifference=content))
    assert not made.causes
    colours = seen(made.images["Difference"], made.views["Difference"], 24).getcolors()
    assert colours is not None
    assert len(colours) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (60, 2), (400, 300)])
def test_any_shape_has_its_place(shape: tuple[int, int]) -> None:
    made = shown(lsst(cutoutScience=fits_file(np.ones(shape))))
    assert picture(made).size == (752, 310)


TURNS = [(angle, parity) for angle in (0, 37, 90, 200, 315) for parity in (1, -1)]


@pytest.mark.parametrize(("angle", "parity"), TURNS)
@pytest.mark.parametrize("form", ["CD", "PC"])
def test_north_is_up_and_east_is_left(angle: float, parity: int, form: str) -> None:
    turn = math.radians(angle)
    # A pixel is 1"; the columns of the matrix are where the axes of the image point on the sky.
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    matrix = np.array([[-1, 0], [0, 1]]) @ matrix @ np.array([[parity, 0], [0, 1]]) / 3600
    cards: dict[str, Any] = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
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
    alert = lsst(cutoutScience=fits_file(pixels, **cards))
    alert["diaSource"] |= {"ra": ra, "dec": dec}
    made = shown(alert)
    drawn = np.asarray(seen(made.images["Science"], made.views["Science"], 246).convert("L"), float)
    rows, columns = np.nonzero(drawn > 200)
    assert columns.mean() == pytest.approx(123 - 6 * east, abs=5)
    assert rows.mean() == pytest.approx(123 - 6 * north, abs=5)
    x, y = made.views["Science"].source
    assert (x, y) == pytest.approx((-east, -north), abs=0.02)
    assert made.views["Science"].scale == pytest.approx(1 / 3600)


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
    made = shown(lsst(cutoutScience=fits_file(SQUARE, **stated)))
    assert made.views["Science"].source == pytest.approx((0, 0))
    assert picture(made).size == (752, 310)


def test_without_wcs_rows_go_upwards() -> None:
    pixels = np.zeros((30, 30), "f4")
    pixels[25:28, 2:5] = 100
    made = shown(lsst(cutoutScience=fits_file(pixels)))
    drawn = np.asarray(seen(made.images["Science"], made.views["Science"], 60).convert("L"))
    assert drawn[6, 6] == 255
    assert drawn[50, 50] < 100


def test_white_is_brighter_now_and_no_value_is_neither() -> None:
    pixels = np.zeros((30, 30), "f4")
    pixels[5, 5], pixels[5, 20], pixels[20, 5] = 50, -50, np.nan
    made = shown(lsst(cutoutDifference=fits_file(pixels)))
    colours = np.asarray(made.images["Difference"]).astype(int)
    assert colours[5, 5, 0] == 255
    assert colours[5, 20, 0] == 0
    assert tuple(colours[20, 5]) == NO_VALUE
    assert colours[0, 0, 0] == 127


def test_science_and_template_share_a_scale_if_they_share_a_unit() -> None:
    faint = np.zeros((30, 30), "f4")
    faint[10:13, 10:13] = 10
    bright = faint * 100
    for unit, same in (("nJy", False), ("", True)):
        cards = {"BUNIT": unit} if unit else {}
        alert = lsst(
            cutoutScience=fits_file(bright, **cards), cutoutTemplate=fits_file(faint, **cards)
        )
        images = shown(alert).images
        tops = [np.asarray(images[name]).max() for name in ("Science", "Template")]
        assert bool(tops[0] == tops[1]) is same


def test_missing_images_leave_their_place_empty() -> None:
    assert triplet(lsst(cutoutScience=None)) is None
    made = shown(lsst(cutoutScience=GOOD, cutoutTemplate=b"junk"))
    assert made.causes == {"Template": "no FITS file"}
    assert set(made.images) == {"Science"}
    drawn = strip(made, 20, 2)
    assert drawn.size == (64, 20)
    assert len(drawn.crop((0, 0, 20, 20)).getcolors() or ()) > 5
    for left in (22, 44):
        assert len(drawn.crop((left, 0, left + 20, 20)).getcolors() or ()) == 1


@pytest.mark.parametrize("band", [None, "r" * 5000, "\x1b[2J\n\0", "é漢\U0001f600", "\ud800"])
def test_any_text_is_written_in_its_place(band: str | None) -> None:
    alert = lsst(cutoutScience=GOOD)
    nothing = {"snr": None, "psfFlux": math.nan, "midpointMjdTai": 1e300, "ra": None}
    alert["diaSource"] |= {"band": band, **nothing}
    made = shown(alert)
    assert "  ·  -  ·  SNR -  ·  MJD 1000" in made.caption[0]
    assert len(made.caption[0]) <= 103
    assert made.caption[0].isprintable()
    with Image.open(io.BytesIO(png(picture(made)))) as image:
        assert image.size == (752, 310)


def test_caption() -> None:
    made = shown(lsst(cutoutScience=GOOD))
    time = "2025-11-21 11:59:23 UTC"
    assert made.caption == (f"r  ·  22.500 ± 0.011 mag  ·  SNR 12.3  ·  {time}", "7")
    nothing = lsst(cutoutScience=GOOD)
    nothing["diaSource"] = {}
    assert shown(nothing).caption == ("-  ·  -  ·  SNR -  ·  -", "None")


def curve(alert: Alert) -> LightCurve:
    made = light_curve(alert)
    assert made is not None
    return made


def earlier(**values: Any) -> dict[str, Any]:
    return {"midpointMjdTai": 60990.0, "psfFlux": 100.0, "psfFluxErr": 10.0, "band": "g"} | values


def test_light_curve_of_fluxes() -> None:
    past = [earlier(), earlier(midpointMjdTai=60980.0, psfFlux=-500.0, band="zz")]
    drawn = curve(lsst(prvDiaSources=past, prvDiaForcedSources=[earlier(midpointMjdTai=60995.0)]))
    assert [p.kind for p in drawn.points] == ["detection", "detection", "forced", "now"]
    assert [p.filled for p in drawn.points] == [True, True, False, True]
    assert [p.colour for p in drawn.points] == ["#777777", "#31de1f", "#31de1f", "#b52626"]
    faint, middle, _, now = drawn.points
    assert faint.y > middle.y > now.y
    assert faint.x < middle.x < now.x
    assert drawn.zero is not None
    assert middle.y < drawn.zero < faint.y
    assert middle.high < middle.y < middle.low
    assert now.title == "now: MJD 61000.50000, r, 3631 ± 36 nJy"
    assert (drawn.unit, drawn.time) == ("nJy", "MJD (TAI)")
    assert 2 <= len(drawn.upwards) <= 5


def ztf(*past: dict[str, Any], **own: Any) -> Alert:
    candidate = {"candid": 9, "jd": 2458814.5, "fid": 1, "magpsf": 18.0, "sigmapsf": 0.1}
    return Alert({"candidate": candidate | own, "objectId": "Z", "prv_candidates": list(past)})


def test_light_curve_of_magnitudes() -> None:
    seen_before = {"jd": 2458800.5, "fid": 2, "magpsf": 19.0, "sigmapsf": 0.2, "diffmaglim": 20.0}
    not_seen = {"jd": 2458790.5, "fid": 2, "magpsf": None, "diffmaglim": 20.5}
    drawn = curve(ztf(seen_before, not_seen))
    assert [p.kind for p in drawn.points] == ["limit", "detection", "now"]
    limit, before, now = drawn.points
    assert limit.y > before.y > now.y
    assert drawn.zero is None
    assert "> 20.500 mag" in limit.title
    assert (drawn.unit, drawn.time) == ("mag", "MJD (UTC)")


@pytest.mark.parametrize(
    "odd",
    [
        {"psfFlux": math.nan},
        {"psfFlux": 1e300},
        {"psfFlux": None},
        {"midpointMjdTai": math.inf},
        {"midpointMjdTai": None},
    ],
)
def test_what_cannot_be_drawn_is_left_out(odd: dict[str, Any]) -> None:
    assert [m.kind for m in measurements(lsst(prvDiaSources=[earlier(**odd)]))] == ["now"]
    for error in (math.nan, math.inf, -1.0, None, 1e300):
        (point, _) = curve(lsst(prvDiaSources=[earlier(psfFluxErr=error)])).points
        assert point.low == point.y == point.high


def test_light_curve_of_nothing_and_of_much() -> None:
    alert = lsst(prvDiaSources=[earlier(midpointMjdTai=float(n)) for n in range(5000)])
    drawn = curve(alert)
    assert len(drawn.points) == 500
    assert all(0 < p.x < drawn.width and 0 < p.y < drawn.height for p in drawn.points)
    nothing = lsst()
    nothing["diaSource"]["psfFlux"] = None
    assert light_curve(nothing) is None


@pytest.mark.parametrize("flux", [0.0, 1e14, -1e14, 1e-20, 123456.789])
def test_single_and_extreme_measurements_have_a_scale(flux: float) -> None:
    alert = lsst(prvDiaSources=[earlier(psfFlux=-flux, midpointMjdTai=61000.5 - 1e-9)])
    alert["diaSource"] |= {"psfFlux": flux, "psfFluxErr": 0.0}
    drawn = curve(alert)
    assert 1 <= len(drawn.upwards) <= 5
    assert 1 <= len(drawn.across) <= 3
    assert all(drawn.top <= point.y <= drawn.bottom for point in drawn.points)


class Loaded(HTMLParser):
    """What a page has: elements, what they load, and their texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value or "" for _, each, value in self.attributes if each == name]


MESSAGE = Message("alerts", 0, 0, 0, 0, None, b"", None, -1, 0, ())
EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'\"&<>",
    "{{ 7 * 7 }}{% raw %}",
    "</title></style></script>",
    "\0\x1b[2J\ufffe",
]


def put(page: Page, alert: Alert, drawn: Triplet | None = None) -> None:
    page.prepare(MESSAGE, alert, drawn)()


def test_page_escapes_what_comes_from_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    with Page(path, EVIL[4]) as page:
        for text in EVIL:
            alert = lsst(cutoutScience=GOOD, prvDiaSources=[earlier(band=text)])
            alert["diaSource"] |= {"diaSourceId": text, "diaObjectId": text, "band": text}
            put(page, alert, triplet(alert))
        page.close()
    content = path.read_text(encoding="utf-8")
    loaded = Loaded(content)
    assert loaded.tags.count("script") == loaded.tags.count("style") == 1
    assert loaded.tags.count("img") == loaded.tags.count("svg") == len(EVIL)
    assert not [name for _, name, _ in loaded.attributes if name.startswith("on")]
    for text in EVIL[:4]:
        assert loaded.text.count(text) >= 3
    assert "{{ 7" in content


def test_page_loads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    with Page(path, "alerts") as page:
        for alert in (lsst(cutoutScience=GOOD), lsst(), lsst(cutoutScience=b"junk")):
            put(page, alert, triplet(alert))
        page.close()
    content = path.read_text(encoding="utf-8")
    loaded = Loaded(content)
    assert all(each.startswith("data:image/png;base64,") for each in loaded.values("src"))
    hosts = {each.split("/")[2] for each in loaded.values("href")}
    assert hosts == {"aladin.cds.unistra.fr", "simbad.cds.unistra.fr"}
    assert {tag for tag, name, _ in loaded.attributes if name == "href"} == {"a"}
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|\blink\b", content)
    assert "default-src 'none'" in content
    assert "template: none" in content
    assert "science: no FITS file" in content
    (first, _) = loaded.values("src")
    with Image.open(io.BytesIO(base64.b64decode(first.split(",")[1]))) as image:
        assert image.size == (364, 120)


def test_page_without_positions_has_no_links(tmp_path: Path) -> None:
    with Page(tmp_path / "page.html", "alerts") as page:
        for ra, dec in ((None, None), (math.nan, 0.0), (10.0, 91.0), (1e300, -1e300)):
            alert = lsst()
            alert["diaSource"] |= {"ra": ra, "dec": dec}
            put(page, alert)
        (path,) = page.close()
    assert Loaded(path.read_text()).values("href") == []


def test_page_is_bounded_and_says_so(tmp_path: Path) -> None:
    with Page(tmp_path / "page.html", "alerts", limit=3) as page:
        for _ in range(5):
            put(page, lsst())
        (path,) = page.close()
    assert (page.shown, page.more, page.draws) == (3, 2, False)
    loaded = Loaded(path.read_text())
    assert loaded.tags.count("tr") == 4
    assert "3 alerts, and 2 more that this page leaves out" in loaded.text
    assert LIMIT == 1000


def test_page_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    with pytest.raises(ZeroDivisionError), Page(path, "alerts") as page:
        put(page, lsst())
        assert not path.exists()
        raise ZeroDivisionError
    assert list(path.parent.iterdir()) == []
    with pytest.raises(DataError, match="choose another --save"):
        Page(tmp_path, "alerts")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="choose another --save"):
        Page(tmp_path / "file" / "page.html", "alerts")


@pytest.mark.parametrize("odd", [{"psfFlux": "x"}, {"midpointMjdTai": []}, {"psfFluxErr": {}}])
def test_history_of_odd_types_is_no_row(tmp_path: Path, odd: dict[str, Any]) -> None:
    with Page(tmp_path / "page.html", "alerts") as page:
        with pytest.raises((TypeError, ValueError)):
            put(page, lsst(prvDiaSources=[earlier(**odd)]))
        (path,) = page.close()
    assert Loaded(path.read_text()).tags.count("tr") == 1


@pytest.fixture
def stream(kafka: str, topic: str, visits: Path) -> str:
    """A topic with 120 alerts."""
    path = sorted(visits.iterdir())[0]
    send_visits(kafka, topic, path)
    return topic


def test_pictures_become_files(kafka: str, stream: str, tmp_path: Path) -> None:
    how = ("--stampDir", tmp_path, "--exit-on-eof")
    printed = run("print", kafka, stream, 30, *how, "--stampFormat", "png")
    assert printed.status == 0, printed.err
    assert printed.err.endswith("4 printed + 116 skipped + 0 undecodable, 4 pictures saved\n")
    numbers = {line.split()[0] for line in printed.lines[1:]}
    assert {path.name for path in tmp_path.iterdir()} == {f"{each}.png" for each in numbers}
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert (image.format, image.size) == ("PNG", (752, 310))
    both = run("print", kafka, stream, "-n", 3, *how, "--stamp-format", "both")
    assert both.err.endswith(", 9 cutouts saved, 3 pictures saved\n")
    assert len(list(tmp_path.glob("*.fits"))) == 9


def test_picture_of_a_ztf_alert(kafka: str, topic: str, tmp_path: Path) -> None:
    names = {"Science": "a.fits.gz", "Template": "../b.fits.gz", "Difference": "c.fits.gz"}
    raw_kafka.make(kafka, topic)
    raw_kafka.write(kafka, topic, [ztf_alert(**names)[1]])
    folder, page = tmp_path / "stamps", tmp_path / "page.html"
    how = ("--stampDir", folder, "--stampFormat", "both", "--html", page)
    printed = run("print", kafka, topic, "--exit-on-eof", *how)
    assert printed.status == 0, printed.err
    assert "3 cutouts saved, 1 pictures saved" in printed.err
    assert (folder / "1060135832015015002.png").exists()
    assert len(list(folder.iterdir())) == 4
    assert "now: MJD 58814.13583, r, 18.632 ± 0.135 mag" in page.read_text()


@pytest.fixture
def broken_stream(kafka: str, topic: str, tmp_path: Path) -> tuple[str, list[dict[str, Any]]]:
    """A topic of alerts of which each has a cutout that is no image, and its alerts."""
    alerts = []
    for number, (content, _) in enumerate([*BROKEN.values()] * 2):
        alert = sample_alert("10.0") | {"cutoutScience": GOOD, "cutoutTemplate": None}
        alert["cutoutDifference"] = content if len(content) < 500_000 else b""
        alert["diaSource"] = alert["diaSource"] | {"diaSourceId": number + 1}
        alerts.append(alert)
    path = write_container(tmp_path / "a.avro", official_schema("10.0"), alerts)
    send_visits(kafka, topic, path)
    return topic, alerts


@pytest.mark.parametrize("kind", ["png", "both"])
def test_broken_cutouts_are_told_once_and_kept(
    kafka: str, broken_stream: tuple[str, list[dict[str, Any]]], tmp_path: Path, kind: str
) -> None:
    topic, alerts = broken_stream
    folder, count = tmp_path / "stamps", len(alerts)
    how = ("--stampDir", folder, "--stampFormat", kind, "--html", tmp_path / "page.html")
    printed = run("print", kafka, topic, "--exit-on-eof", *how)
    assert printed.status == 0, printed.err
    assert len(printed.lines) == count + 1
    assert f"{count} pictures saved, {count} cutouts cannot be shown" in printed.err
    assert f"{count} saved in " in printed.err
    told = [line for line in printed.err.splitlines() if "cutout that cannot be shown" in line]
    causes = [line.split(": ")[1].split(" · ")[0] for line in told]
    assert len(causes) == len(set(causes)) >= 8
    assert all(line.endswith("kept as it is") for line in told)
    for alert in alerts:
        number = alert["diaSource"]["diaSourceId"]
        saved = folder / f"{number}-Difference.fits"
        assert saved.read_bytes() == alert["cutoutDifference"]
        assert (folder / f"{number}-Science.fits").exists() is (kind == "both")


def test_alerts_without_cutouts_have_no_picture(kafka: str, topic: str, tmp_path: Path) -> None:
    nothing = {f"cutout{name}": None for name in ("Science", "Template", "Difference")}
    path = write_container(
        tmp_path / "a.avro", official_schema("10.0"), [sample_alert("10.0") | nothing]
    )
    send_visits(kafka, topic, path)
    how = ("--stampDir", tmp_path / "stamps", "--stampFormat", "png", "--html", tmp_path / "p.html")
    printed = run("print", kafka, topic, "--exit-on-eof", *how)
    assert printed.status == 0
    assert "1 printed + 0 skipped + 0 undecodable, 0 pictures saved" in printed.err
    assert not (tmp_path / "stamps").exists()
    assert "img" not in Loaded((tmp_path / "p.html").read_text()).tags


@pytest.mark.parametrize("more", [(), ("--format", "json", "--fields", "magnitude")])
def test_page_has_what_was_printed(
    kafka: str, stream: str, visits: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    path = tmp_path / "page.html"
    printed = run("print", kafka, stream, 10, "--exit-on-eof", "--html", path, *more)
    assert printed.status == 0, printed.err
    assert printed.err.endswith(f"12 saved in {path}\n")
    loaded = Loaded(path.read_text())
    assert loaded.tags.count("img") == loaded.tags.count("svg") == 12
    with sorted(visits.iterdir())[0].open("rb") as file:
        alerts = list(fastavro.reader(file))
    there = [alert for alert in alerts if str(alert["diaSourceId"]) in loaded.text]
    assert len(there) == 12
    lengths = {
        f"light curve of {1 + len(a['prvDiaSources'] or ()) + len(a['prvDiaForcedSources'] or ())}"
        for a in there
        if a["diaSource"]["psfFlux"] is not None and math.isfinite(a["diaSource"]["psfFlux"])
    }
    assert {each.removesuffix(" measurements") for each in loaded.values("aria-label")} >= lengths


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_page_is_written_when_stopped(
    kafka: str, stream: str, tmp_path: Path, how: signal.Signals
) -> None:
    path, out = tmp_path / "page.html", tmp_path / "out"
    process = start("print", kafka, stream, "--html", path, out=out)
    until(lambda: out.read_text().count("\n") == 121, "all is printed")
    assert not path.exists()
    ended = stop(process, how)
    assert ended.status == 0
    assert Loaded(path.read_text()).tags.count("img") == 120
    assert sorted(tmp_path.iterdir()) == [out, path]


def test_page_is_written_when_the_reader_leaves(kafka: str, stream: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    process = start("print", kafka, stream, "--html", path, "--exit-on-eof")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.wait(30) == 0
    assert process.stderr is not None
    process.stderr.close()
    assert path.read_text().endswith("</html>\n")


@pytest.mark.parametrize("columns", [80, 40, 12, 200])
def test_cutouts_in_a_terminal(kafka: str, stream: str, columns: int) -> None:
    how = ("--show-cutouts", "--exit-on-eof", "-n", 2)
    shown = in_a_terminal("print", kafka, stream, *how, columns=columns)
    assert shown.status == 0, shown.err
    assert shown.err.startswith("2 read = 2 printed")
    text = re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|_[^\x1b]*\x1b\\)", "", shown.out)
    drawn = [line.rstrip("\r") for line in text.splitlines() if "▀" in line]
    edge = (min(columns, 98) - 2) // 6 * 2
    assert len(drawn) == edge
    assert {len(line) for line in drawn} == {3 * edge + 2}
    if columns >= 80:
        assert "difference, white=brighter" in text


def test_terminal_without_colour(kafka: str, stream: str) -> None:
    how = ("--show-cutouts", "--exit-on-eof", "-n", 1)
    shown = in_a_terminal("print", kafka, stream, *how, TERM="dumb", COLORTERM="")
    assert shown.status == 0
    assert "\x1b" not in shown.out
    assert re.search("[░▒▓█]", shown.out)


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (["--show-cutouts"], 2, "draws in a terminal, and the output goes to none"),
        (["--show-cutouts", "--format", "json"], 2, "does not go with --format json"),
        (["--show-cutouts", "--format", "csv"], 2, "does not go with --format csv"),
        (["--stampFormat", "jpeg"], 2, "there is no stamp format jpeg · choose fits, png, both"),
        (["--html", "/"], 2, "/ is no kind of file that is known"),
        (["--html", ""], 2, ". is no kind of file that is known"),
        (["--save", "page.htmlx"], 2, "end its name in .avro, .parquet or .html"),
        (["--html", "/dev/null/page.html"], 1, "the file cannot be written"),
    ],
)
def test_wrong_arguments(kafka: str, arguments: list[str], status: int, what: str) -> None:
    printed = run("print", kafka, "nowhere", *arguments)
    assert (printed.status, printed.out) == (status, "")
    assert what in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("library", "arguments"),
    [
        ("PIL", ["--stampDir", "stamps", "--stampFormat", "png"]),
        ("astropy", ["--html", "page.html"]),
        ("jinja2", ["--html", "page.html"]),
    ],
)
def test_without_the_libraries(
    kafka: str, tmp_path: Path, library: str, arguments: list[str]
) -> None:
    (tmp_path / library).mkdir()
    (tmp_path / library / "__init__.py").write_text("raise ImportError")
    printed = run("print", kafka, "nowhere", *arguments, PYTHONPATH=str(tmp_path))
    assert printed.status == 2
    assert "pip install 'alertstream[images]'" in printed.err
    assert printed.err.count("\n") == 1


def test_stamps_as_fits_need_no_libraries(kafka: str, stream: str, tmp_path: Path) -> None:
    for library in ("PIL", "astropy", "numpy", "jinja2", "textual_image"):
        (tmp_path / library).mkdir()
        (tmp_path / library / "__init__.py").write_text("raise ImportError")
    how = ("--stampDir", tmp_path / "stamps", "-n", 2, "--exit-on-eof")
    printed = run("print", kafka, stream, *how, PYTHONPATH=str(tmp_path))
    assert printed.status == 0, printed.err
    assert "6 cutouts saved" in printed.err


def test_picture_format_without_a_folder_is_told(kafka: str, stream: str) -> None:
    printed = run("print", kafka, stream, "--stampFormat", "png", "-n", 1)
    assert printed.status == 0
    assert "without it, none are saved" in printed.err
