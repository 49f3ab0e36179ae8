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
from tests.support.images import GOOD, imaged
from tests.support.page import Loaded

from alertstream.alert.alert import Alert
from alertstream.alert.pictures import Triplet, triplet
from alertstream.errors import DataError
from alertstream.kafka.messages import Message
from alertstream.printing.html import LIMIT, LightCurve, Page, light_curve, measurements


def curve(alert: Alert) -> LightCurve:
    made = light_curve(alert)
    assert made is not None
    return made


def earlier(**values: Any) -> dict[str, Any]:
    return {"midpointMjdTai": 60990.0, "psfFlux": 100.0, "psfFluxErr": 10.0, "band": "g"} | values


def test_light_curve_of_fluxes() -> None:
    past = [earlier(), earlier(midpointMjdTai=60980.0, psfFlux=-500.0, band="zz")]
    drawn = curve(imaged(prvDiaSources=past, prvDiaForcedSources=[earlier(midpointMjdTai=60995.0)]))
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
    assert [m.kind for m in measurements(imaged(prvDiaSources=[earlier(**odd)]))] == ["now"]
    for error in (math.nan, math.inf, -1.0, None, 1e300):
        (point, _) = curve(imaged(prvDiaSources=[earlier(psfFluxErr=error)])).points
        assert point.low == point.y == point.high


def test_light_curve_of_nothing_and_of_much() -> None:
    alert = imaged(prvDiaSources=[earlier(midpointMjdTai=float(n)) for n in range(5000)])
    drawn = curve(alert)
    assert len(drawn.points) == 500
    assert all(0 < p.x < drawn.width and 0 < p.y < drawn.height for p in drawn.points)
    nothing = imaged()
    nothing["diaSource"]["psfFlux"] = None
    assert light_curve(nothing) is None


@pytest.mark.parametrize("flux", [0.0, 1e14, -1e14, 1e-20, 123456.789])
def test_single_and_extreme_measurements_have_a_scale(flux: float) -> None:
    alert = imaged(prvDiaSources=[earlier(psfFlux=-flux, midpointMjdTai=61000.5 - 1e-9)])
    alert["diaSource"] |= {"psfFlux": flux, "psfFluxErr": 0.0}
    drawn = curve(alert)
    assert 1 <= len(drawn.upwards) <= 5
    assert 1 <= len(drawn.across) <= 3
    assert all(drawn.top <= point.y <= drawn.bottom for point in drawn.points)


MESSAGE = Message("alerts", 0, 0, 0, None, b"")
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
    with Page(path, "alerts") as page:
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
    assert "science: no FITS file" in content
    (first, _) = loaded.values("src")
    with Image.open(io.BytesIO(base64.b64decode(first.split(",")[1]))) as image:
        assert image.size == (364, 120)


def test_page_without_positions_has_no_links(tmp_path: Path) -> None:
    with Page(tmp_path / "page.html", "alerts") as page:
        for ra, dec in ((None, None), (math.nan, 0.0), (10.0, 91.0), (1e300, -1e300)):
            alert = imaged()
            alert["diaSource"] |= {"ra": ra, "dec": dec}
            put(page, alert)
        (path,) = page.close()
    assert Loaded(path.read_text()).values("href") == []


def test_page_is_bounded_and_says_so(tmp_path: Path) -> None:
    with Page(tmp_path / "page.html", "alerts", limit=3) as page:
        for _ in range(5):
            put(page, imaged())
        (path,) = page.close()
    assert (page.shown, page.more, page.draws) == (3, 2, False)
    loaded = Loaded(path.read_text())
    assert loaded.tags.count("tr") == 4
    assert "3 alerts, and 2 more that this page leaves out" in loaded.text
    assert LIMIT == 1000


def test_page_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    with pytest.raises(ZeroDivisionError), Page(path, "alerts") as page:
        put(page, imaged())
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
            put(page, imaged(prvDiaSources=[earlier(**odd)]))
        (path,) = page.close()
    assert Loaded(path.read_text()).tags.count("tr") == 1
