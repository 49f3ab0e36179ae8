"""An HTML page of alerts: complete, bounded, and safe whatever a stream holds."""

from __future__ import annotations

import base64
import io
import math
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.support.html_page import Loaded
from tests.support.images import GOOD, SQUARE, fits_file, imaged

from alertstream.alert.alert import Alert
from alertstream.alert.pictures import Triplet, triplet
from alertstream.errors import DataError
from alertstream.kafka.messages import Message
from alertstream.printing.writers.html import MAX_ALERTS, HtmlPage
from alertstream.printing.writers.plot import AREA, MAX_POINTS, Plot, plot


def earlier(**values: Any) -> dict[str, Any]:
    return {"midpointMjdTai": 60990.0, "psfFlux": 100.0, "psfFluxErr": 10.0, "band": "g"} | values


def plotted(alert: Alert) -> Plot:
    made = plot(alert)
    assert made is not None
    return made


def drawn(alert: Alert, tmp_path: Path) -> Loaded:
    """The page of an alert, whose only drawing is its light curve."""
    with HtmlPage(tmp_path / "page.html", "alerts") as page:
        put(page, alert)
        (path,) = page.close()
    return Loaded(path.read_text())


def test_light_curve_of_fluxes(tmp_path: Path) -> None:
    past = [earlier(), earlier(midpointMjdTai=60980.0, psfFlux=-500.0, band="zz")]
    alert = imaged(prvDiaSources=past, prvDiaForcedSources=[earlier(midpointMjdTai=60995.0)])
    made = plotted(alert)
    _, faint, middle, now = made.measurements
    x, y = made.time, made.brightness
    assert y.at(faint.value) > y.at(middle.value) > y.at(now.value)
    assert x.at(faint.mjd) < x.at(middle.mjd) < x.at(now.mjd)
    assert 2 <= len(y.ticks(5)) <= 5
    page = drawn(alert, tmp_path)
    # What is drawn last covers others: forced measurements are first, this alert's is last.
    strokes = ["#31de1f", "#777777", "#31de1f", "#b52626"]
    assert page.of("g", "stroke") == strokes
    assert page.of("g", "fill") == ["#fff", *strokes[1:]]
    assert page.of("circle", "r") == ["2.5", "2.5", "2.5", "4"]
    assert page.of("circle", "cy") == [str(y.at(each.value)) for each in made.measurements]
    assert y.at(middle.value) < y.at(0) < y.at(faint.value)
    assert page.of("line", "class")[-1] == "zero"
    assert page.of("line", "y1")[-1] == str(y.at(0))
    bar = f"M{x.at(middle.mjd)} {y.at(110)}V{y.at(90)}"
    assert bar in page.of("path", "d")
    assert "now: MJD 61000.50000, r, 3631 ± 36 nJy" in page.text
    assert "forced: MJD 60995.00000, g, 100 ± 10 nJy" in page.text
    assert "MJD (TAI)" in page.text


def ztf(*past: dict[str, Any], **own: Any) -> Alert:
    candidate = {"candid": 9, "jd": 2458814.5, "fid": 1, "magpsf": 18.0, "sigmapsf": 0.1}
    return Alert({"candidate": candidate | own, "objectId": "Z", "prv_candidates": list(past)})


def test_light_curve_of_magnitudes(tmp_path: Path) -> None:
    seen_before = {"jd": 2458800.5, "fid": 2, "magpsf": 19.0, "sigmapsf": 0.2, "diffmaglim": 20.0}
    not_seen = {"jd": 2458790.5, "fid": 2, "magpsf": None, "diffmaglim": 20.5}
    alert = ztf(seen_before, not_seen)
    made = plotted(alert)
    limit, before, now = (made.brightness.at(each.value) for each in made.measurements)
    assert limit > before > now
    page = drawn(alert, tmp_path)
    assert "zero" not in page.of("line", "class")
    assert [each for each in page.of("path", "d") if each.endswith(f" {limit}h6l-3 5z")]
    assert "limit: MJD 58790.00017, r, < 22909 nJy" in page.text
    assert "MJD (UTC)" in page.text


def test_light_curve_of_nothing_and_of_much() -> None:
    past = [earlier(midpointMjdTai=float(n)) for n in range(5000)]
    made = plotted(imaged(prvDiaSources=past[:300], prvDiaForcedSources=past[300:]))
    assert len(made.measurements) == MAX_POINTS == 500
    # Detections are drawn all, however old; of the forced ones, the latest.
    assert {each.mjd for each in made.measurements} == {*range(300), *range(4801, 5000), 61000.5}
    assert made.described == (
        "300 detections, 199 forced measurements; not drawn: 4501 forced measurements"
    )
    assert all(0 < made.time.at(each.mjd) < AREA["width"] for each in made.measurements)
    assert all(0 < made.brightness.at(each.value) < AREA["height"] for each in made.measurements)
    nothing = imaged()
    nothing["diaSource"]["psfFlux"] = None
    assert plot(nothing) is None


def test_a_single_detection_has_a_scale_around_it() -> None:
    made = plotted(imaged())
    assert (made.brightness.low, made.described) == (0.0, "no history")
    assert made.brightness.high == pytest.approx(3630.78 + 36.3)
    assert [text for _, text in made.time.ticks(3)] == ["61000", "61001"]


def test_outliers_are_at_the_edge(tmp_path: Path) -> None:
    past = [earlier(midpointMjdTai=60900.0 + n, psfFlux=3600.0 + n) for n in range(40)]
    past += [earlier(psfFlux=9e6), earlier(psfFlux=-9e6), earlier(psfFluxErr=9e6)]
    alert = imaged(prvDiaSources=past)
    made = plotted(alert)
    assert -1e4 < made.brightness.low < made.brightness.high < 1e4
    assert made.described == "43 detections; 3 beyond the scale"
    page = drawn(alert, tmp_path)
    arrows = [each for each in page.of("path", "d") if each.endswith(("-6z", "6z"))]
    assert sorted(each.rpartition("h6l-3 ")[2] for each in arrows) == ["-6z", "6z", "6z"]
    assert page.of("circle", "r").count("2.5") == 40


def test_what_an_alert_is_about_is_never_an_outlier() -> None:
    alert = imaged(prvDiaForcedSources=[earlier(psfFlux=float(n)) for n in range(40)])
    made = plotted(alert)
    assert made.brightness.beyond(3630.78) == 0


@pytest.mark.parametrize("flux", [0.0, 1e14, -1e14, 1e-20, 123456.789])
def test_single_and_extreme_measurements_have_a_scale(flux: float) -> None:
    alert = imaged(prvDiaSources=[earlier(psfFlux=-flux, midpointMjdTai=61000.5 - 1e-9)])
    alert["diaSource"] |= {"psfFlux": flux, "psfFluxErr": 0.0}
    made = plotted(alert)
    assert 1 <= len(made.brightness.ticks(5)) <= 5
    assert 1 <= len(made.time.ticks(3)) <= 3
    assert all(
        AREA["top"] <= made.brightness.at(each.value) <= AREA["bottom"]
        for each in made.measurements
    )


MESSAGE = Message("alerts", 0, 0, 0, None, b"")
EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'\"&<>",
    "{{ 7 * 7 }}{% raw %}",
    "</title></style></script>",
    "\0\x1b[2J\ufffe",
]


def put(page: HtmlPage, alert: Alert, drawn: Triplet | None = None) -> None:
    page.prepare(alert, drawn)()


def test_page_escapes_what_comes_from_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    with HtmlPage(path, EVIL[4]) as page:
        for text in EVIL:
            alert = imaged(cutoutScience=GOOD, prvDiaSources=[earlier(band=text)])
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
    with HtmlPage(path, "alerts") as page:
        for alert in (imaged(cutoutScience=GOOD), imaged(), imaged(cutoutScience=b"junk")):
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
    assert "science: not a FITS file" in content
    (first, _) = loaded.values("src")
    with Image.open(io.BytesIO(base64.b64decode(first.split(",")[1]))) as image:
        assert image.size == (292, 96)


def test_a_page_says_which_pictures_are_not_turned(tmp_path: Path) -> None:
    north: dict[str, Any] = {"CRVAL1": 10.0, "CRVAL2": -30.0, "CRPIX1": 16.0, "CRPIX2": 16.0}
    turned = fits_file(SQUARE, **north, PC1_1=-5e-5, PC2_2=5e-5)
    alert = imaged(cutoutScience=turned, cutoutTemplate=GOOD, cutoutDifference=turned)
    for one, said in (
        (alert, "template not turned: no WCS"),
        (imaged(cutoutScience=GOOD), "template: none; difference: none; not turned: no WCS"),
    ):
        with HtmlPage(tmp_path / "page.html", "alerts") as page:
            put(page, one, triplet(one))
            (path,) = page.close()
        assert f"<small>{said}</small>" in path.read_text()


def test_columns_of_a_page(tmp_path: Path) -> None:
    alert = imaged()
    source = {"visit": 2026112500055, "reliability": 0.8754, "scienceFlux": 36_307.8}
    alert["diaSource"] |= source | {"diaObjectId": 0, "ssObjectId": 0}
    with HtmlPage(tmp_path / "page.html", "alerts") as page:
        put(page, alert)
        (path,) = page.close()
    cells = re.findall(r'data-name="([^"]*)"[^>]*>(.*?)</td>', path.read_text())
    found = dict(cells)
    assert found["visit"] == "2026112500055"
    assert (found["reliability"], found["science (AB mag)"]) == ("0.88", "20.000")
    assert found["source, object"] == "7<small>–</small>"


def test_page_without_positions_has_no_links(tmp_path: Path) -> None:
    with HtmlPage(tmp_path / "page.html", "alerts") as page:
        for ra, dec in ((None, None), (math.nan, 0.0), (10.0, 91.0), (1e300, -1e300)):
            alert = imaged()
            alert["diaSource"] |= {"ra": ra, "dec": dec}
            put(page, alert)
        (path,) = page.close()
    assert Loaded(path.read_text()).values("href") == []


def test_page_is_bounded_and_says_so(tmp_path: Path) -> None:
    with HtmlPage(tmp_path / "page.html", "alerts", limit=3) as page:
        for _ in range(5):
            put(page, imaged())
        (path,) = page.close()
    assert (page.saved, page.wants_pictures) == (5, False)
    loaded = Loaded(path.read_text())
    assert loaded.tags.count("tr") == 4
    assert "3 alerts, and 2 more that this page leaves out" in loaded.text
    assert MAX_ALERTS == 1000


def test_page_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    with pytest.raises(ZeroDivisionError), HtmlPage(path, "alerts") as page:
        put(page, imaged())
        assert not path.exists()
        raise ZeroDivisionError
    assert list(path.parent.iterdir()) == []
    with pytest.raises(DataError, match="choose another --save"):
        HtmlPage(tmp_path, "alerts")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="choose another --save"):
        HtmlPage(tmp_path / "file" / "page.html", "alerts")


@pytest.mark.parametrize("odd", [{"psfFlux": "x"}, {"midpointMjdTai": []}, {"psfFluxErr": {}}])
def test_history_of_odd_types_is_no_row(tmp_path: Path, odd: dict[str, Any]) -> None:
    with HtmlPage(tmp_path / "page.html", "alerts") as page:
        with pytest.raises((TypeError, ValueError)):
            put(page, imaged(prvDiaSources=[earlier(**odd)]))
        (path,) = page.close()
    assert Loaded(path.read_text()).tags.count("tr") == 1
