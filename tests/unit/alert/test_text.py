"""An alert as text: every column, its light curve, and what is odd in it."""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any

import pytest

from alertstream.alert.alert import Alert
from alertstream.alert.light_curve import detection_paths
from alertstream.alert.text import (
    BARS,
    LIMIT,
    PLAIN,
    SPARKLINE_WIDTH,
    Look,
    alert_text,
    heading,
    sexagesimal,
)
from alertstream.printing.lines import LineFormat

COLOURED = Look(0, mark=lambda text, band: f"<{band}:{text}>", draw=lambda text, band: f"<{text}>")


def lsst(history: list[Any] | None = None, **source: Any) -> Alert:
    own = {"diaSourceId": 7, "diaObjectId": 8, "ra": 10.0, "dec": -30.5, "band": "r", "snr": 12.3}
    own |= {"psfFlux": 3630.78, "psfFluxErr": 36.3, "midpointMjdTai": 61000.5}
    return Alert({"diaSource": own | source, "prvDiaSources": history})


def earlier(mjd: float, flux: float | None, band: str | None = "r") -> dict[str, Any]:
    return {"midpointMjdTai": mjd, "psfFlux": flux, "band": band}


def ztf(history: list[Any]) -> Alert:
    own = {"candid": 7, "jd": 2459001.0, "fid": 2, "magpsf": 18.5, "sigmapsf": 0.1}
    return Alert({"candidate": own, "objectId": "ZTF18abc", "prv_candidates": history})


def curve(alert: Alert, look: Look = PLAIN) -> str:
    return alert_text(alert, look).partition(" d  ")[2]


def test_a_line_has_what_an_astronomer_looks_for() -> None:
    line = alert_text(lsst(scienceFlux=36_307.8))
    assert line.split() == [
        *("7", "8", "r", "22.500", "±", "0.011", "20.000", "12.3", "2025-11-21", "11:59:23"),
        *("61000.50000", "TAI", "00:40:00.000", "-30:30:00.00", "10.00000", "-30.50000", "0"),
    ]
    starts = [heading().index(name) for name in ("BAND", "TIME", "MJD", "HISTORY")]
    assert [line[start:].split()[0] for start in starts] == ["r", "2025-11-21", "61000.50000", "0"]


def test_negative_flux_has_its_sign_and_its_error() -> None:
    assert "  -1234 ± 36 nJy  " in alert_text(lsst(psfFlux=-1234.4))
    assert "  +0 ± 36 nJy  " in alert_text(lsst(psfFlux=0.0))
    assert "  -1234 nJy  " in alert_text(lsst(psfFlux=-1234.4, psfFluxErr=None))
    assert "  22.500  " in alert_text(lsst(psfFluxErr=math.nan))


def test_nothing_known_is_a_line_all_the_same() -> None:
    line = alert_text(Alert({"diaSource": {}}))
    assert line.split()[:7] == ["None", "-", "-", "-", "-", "-", "MJD"]
    assert line.endswith("    0")
    assert alert_text(Alert()).endswith("    -")


@pytest.mark.parametrize(
    ("ra", "dec", "shown"),
    [
        (0.0, 0.0, "00:00:00.000 +00:00:00.00"),
        (359.9999999, -0.000001, "00:00:00.000 -00:00:00.00"),
        (83.633083, 22.0145, "05:34:31.940 +22:00:52.20"),
        (15.0 - 1e-9, 89.9999999, "01:00:00.000 +90:00:00.00"),
        (360.0, -90.0, "00:00:00.000 -90:00:00.00"),
        (361.0, 0.0, "-"),
        (-1e-9, 0.0, "-"),
        (10.0, 90.1, "-"),
        (math.nan, 0.0, "-"),
        (10.0, math.inf, "-"),
    ],
)
def test_position_in_sixtieths(ra: float, dec: float, shown: str) -> None:
    assert sexagesimal(ra, dec) == shown


def test_light_curve_rises_to_the_right() -> None:
    history = [earlier(61000.5 - days, 3000 - 100 * days) for days in range(1, 24)]
    assert curve(lsst(history)) == "▁▁▂▂▂▂▃▃▃▄▄▄▅▅▅▅▆▆▆█"
    assert "  23  23.0 d  " in alert_text(lsst(history))
    magnitudes = [{"jd": 2459000.0, "fid": 2, "magpsf": 17.5}]
    assert curve(ztf(magnitudes)) == "█" + " " * 18 + "▁"


def test_a_constant_source_is_level() -> None:
    history = [earlier(61000.5 - days, 3630 + 10 * (days % 2)) for days in range(24)]
    assert len(set(curve(lsst(history)))) == 1
    assert len({*curve(ztf([{"jd": 2459000.0, "fid": 2, "magpsf": 18.501}])), " "}) == 2


def test_only_what_can_be_told_apart_is_drawn() -> None:
    history = [earlier(60990.5, 5000.0, "g"), earlier(60995.5, 9000.0, "i")]
    assert curve(lsst(history)) == ""
    assert curve(lsst(history), COLOURED) == f"<▃>{' ' * 9}<█>{' ' * 8}<▁>"
    assert alert_text(lsst(), COLOURED).count("<") == 1


def test_limits_are_below_what_was_seen() -> None:
    limits = [
        {"jd": 2459000.0 - each, "fid": 2, "magpsf": None, "diffmaglim": 20.5} for each in (0, 9)
    ]
    shown = curve(ztf(limits))
    assert (shown.count(LIMIT), shown[0], shown[-1]) == (2, LIMIT, "▄")
    seen = {"jd": 2459000.0, "fid": 2, "magpsf": 18.0}
    assert curve(ztf([*limits, seen])).count(LIMIT) == 1
    assert LIMIT not in curve(ztf([{"jd": 2459000.0, "fid": 2, "magpsf": None}]))


ODD = [
    earlier(math.nan, 1.0),
    earlier(1e300, 1.0),
    earlier(60990.0, math.inf),
    earlier(60990.0, None),
    earlier(60990.0, 1e300),
    {},
    None,
    7,
]


@pytest.mark.parametrize("odd", ODD)
def test_odd_history_is_left_out(odd: Any) -> None:
    for history in ([odd], [odd, earlier(60999.0, 4000.0)], [earlier(60999.0, 4000.0), odd]):
        shown = curve(lsst(history))
        assert set(shown) <= {*BARS, " "}
        assert len(shown) <= SPARKLINE_WIDTH


@pytest.mark.parametrize("band", [{}, [], 7, b"r", {"a": 1}])
def test_odd_bands_are_text_or_errors(band: Any) -> None:
    assert str(band or "-") in alert_text(lsst(band=band), COLOURED)
    with contextlib.suppress(TypeError):
        alert_text(lsst([earlier(60990.0, 1.0, band)], band=band), COLOURED)


@pytest.mark.parametrize("odd", [{"psfFlux": "x"}, {"midpointMjdTai": []}])
def test_history_of_odd_types_is_an_error(odd: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        alert_text(lsst([earlier(60990.0, 1.0) | odd]))


def test_one_time_is_the_last_bar() -> None:
    shown = alert_text(lsst([earlier(61000.5, 100.0)]))
    assert shown.endswith("0.0 d  " + " " * (SPARKLINE_WIDTH - 1) + "█")


@pytest.mark.parametrize("width", [210, 150, 124, 80, 60, 50])
def test_an_alert_fits_the_terminal(width: int) -> None:
    history = [earlier(61000.5 - days, 3000 - 100 * days) for days in range(1, 24)]
    for look in (Look(width), Look(width, COLOURED.mark, COLOURED.draw)):
        plain = re.sub(r"<(?:r:)?([^>]*)>", r"\1", alert_text(lsst(history), look))
        lines = plain.split("\n")
        assert max(map(len, lines)) <= width
        assert [each.startswith("  ") for each in heading(look).split("\n")[1:]] == [True] * (
            len(lines) - 1
        )
        assert plain.replace("\n", " ").split() == alert_text(lsst(history)).split()
    assert (width >= 210) == ("\n" not in heading(Look(width)))


@pytest.mark.parametrize("text", ["\x1b[2J", "r\n\r", "\x9b31m", "\u202e", "\ud800"])
def test_nothing_that_a_terminal_would_obey(text: str) -> None:
    alert = lsst([earlier(60990.0, 1.0, text)], diaSourceId=text, diaObjectId=text, band=text)
    for look in (PLAIN, COLOURED):
        assert alert_text(alert, look).isprintable()


def test_text_decodes_no_more_than_it_shows() -> None:
    paths = LineFormat().paths()
    assert paths is not None
    assert not [each for each in paths if each.startswith(("cutout", "prvDiaForced", "diaObject"))]
    for other in (LineFormat(format="csv"), LineFormat(fields=("snr",))):
        assert not detection_paths() & (other.paths() or set())
