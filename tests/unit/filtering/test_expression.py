"""Filters in one line: what they mean, and what is not a valid expression."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from alertstream.alert.alert import Alert
from alertstream.errors import FilterError, UsageError
from alertstream.filtering.expression import WhereFilter

SOURCE = {"snr": 7.0, "psfFlux": 40_000.0, "band": "g", "isDipole": False, "x": None, "n": 0}
ALERT: dict[str, Any] = {
    "diaSource": SOURCE,
    "diaObject": None,
    "prvDiaSources": [{"snr": 3.0}, {"snr": 4.0}],
}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("diaSource.snr > 5", True),
        ("snr > 5", True),
        ("snr > 7", False),
        ("5 < snr <= 7", True),
        ("5 < snr < 7", False),
        ("snr > 5 and magnitude < 19", False),
        ("snr > 5 and magnitude < 20", True),
        ("snr > 9 or band == 'g'", True),
        ("not snr > 9", True),
        ('band in ("g", "r")', True),
        ('band not in ["g", "r"]', False),
        ("diaSource.isDipole == False", True),
        ("not diaSource.isDipole", True),
        ("diaSource.psfFlux / 1000 - 35 > 4", True),
        ("-snr < 0", True),
        ("snr / diaSource.n > 0", False),
        ("diaSource.x == None", True),
        ("diaSource.x > 5", False),
        ("diaSource.x < 5", False),
        ("diaObject.ra > 0 or diaObject.ra <= 0", False),
        ("nothing.there > 0", False),
        ("nothing.there in (1, 2)", False),
        ("band > 3", False),
        ("'g' * 1000000000000 == band", False),
        ("history == 2", True),
        ("3.0 in prvDiaSources.snr", True),
        ("True", True),
        ("diaSource.x is None and snr is not None", True),
        ("abs(0 - snr) == 7 and abs(diaSource.x) >= 0", False),
        ("abs(-snr) == 7 and abs(band) != 0", True),
        ("len(prvDiaSources) == 2 and len(diaObject) == 0 and len(band) == 1", True),
        ("max(prvDiaSources.snr) == 4 and min(prvDiaSources.snr) == 3", True),
        ("max(snr, diaSource.x, 2) == 7 and min(snr, 9.5) == 7", True),
        ("max(diaSource.x) > 0 or max(diaSource.x) <= 0 or max(nothing.there) > 0", False),
    ],
)
def test_expressions(expression: str, holds: bool) -> None:
    assert WhereFilter(expression, "topic").passes(Alert(ALERT)) is holds


def test_what_is_not_measured_is_not_compared() -> None:
    for value in (None, math.nan):
        alert = Alert({"diaSource": SOURCE | {"snr": value}})
        assert not WhereFilter("snr > 5 or snr <= 5", "topic").passes(alert)


@pytest.mark.parametrize("expression", ["prvDiaSources.snr > 3", "1 < prvDiaSources.snr < 5"])
def test_a_list_that_is_compared_says_so(expression: str) -> None:
    with pytest.raises(FilterError, match=r"a list is not compared .* max\("):
        WhereFilter(expression, "topic").passes(Alert(ALERT))


def test_declares_what_it_looks_at() -> None:
    where = WhereFilter("snr > 5 and diaSource.band == 'g' and not diaObject.ra < 3", "topic")
    assert set(where.fields or ()) == {"snr", "diaSource.band", "diaObject.ra"}


NEAR_M31 = "cone(10.6847, 41.2687, '1 deg')"


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        (NEAR_M31, True),
        (f"snr > 5 and not {NEAR_M31}", False),
        ("cone(-349.3153, -41.2687, '82.6 deg')", True),
        ("watchlist('targets.csv', '2 arcsec')", True),
        ("watchlist('targets.csv')", False),
        ("moc('region.json') or snr > 10", True),
        ("abs(galactic_latitude) > 21 and ecliptic_latitude < 33.4", True),
    ],
)
def test_where_on_the_sky(
    expression: str, holds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("targets.csv").write_text("name,ra,dec,radius\nM31,10.6847,41.2687,0.1\n")
    if holds:
        Path("targets.csv").write_text("name,ra,dec\nM31,10.6847,41.2687\n")
    Path("region.json").write_text('{"0": [0, 4]}')
    where = WhereFilter(expression, "topic")
    assert {"ra", "dec"} <= {*(where.fields or ())} or "latitude" in expression
    assert where.passes(Alert({"diaSource": {"ra": 10.6847, "dec": 41.2688, "snr": 9}})) is holds
    assert not WhereFilter(NEAR_M31, "topic").passes(Alert({"diaSource": {"ra": None, "dec": 41}}))


@pytest.mark.parametrize(
    ("expression", "what"),
    [
        ("cone(1, 2)", "it takes ra, dec, radius"),
        ("cone(1, 2, '3 deg', 4)", "it takes ra"),
        ("cone(ra, dec, '3 deg')", "it takes constants only"),
        ("cone(ra=1, dec=2, radius='3 deg')", "is not allowed"),
        ("cone(1, 2, '3')", "'3' is not a valid radius"),
        ("cone(1, 2 + 3, '3')", "it takes constants only"),
        ("cone(1, 92, '3 deg')", "that is not a position"),
        ("moc()", "it takes path"),
        ("moc(5)", "5 is not a file's name"),
        ("moc('none.fits')", "there is no such file"),
        ("moc('a\\0b')", "there is no such file"),
        ("skymap('none.fits', 2)", "2 is not a probability"),
        ("watchlist('none.csv', '2 miles')", "'2 miles' is not a valid radius"),
        ("watchlist('none.csv', '2 arcsec')", "there is no such file"),
    ],
)
def test_what_is_no_region_is_said_before_anything_is_read(expression: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        WhereFilter(f"snr > 5 and {expression}", "topic")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "snr >",
        "snr > 5 and",
        "__import__('os').system('true')",
        "open('/etc/passwd')",
        "snr.real()",
        "snr[0]",
        "[a for a in b]",
        "lambda: 1",
        "snr if snr else 0",
        "snr ** 9 ** 9",
        *("snr is 5", "abs()", "abs(snr, 5)", "len(x, y)", "max(*x)", "max(x, key=5)", "abs(x=5)"),
        "sum(x)",
        "f'{snr}'",
        "(x := 5)",
        "b'bytes' == snr",
        "a" + "+a" * 100_000,
    ],
)
def test_what_is_no_such_expression(expression: str) -> None:
    with pytest.raises(UsageError, match="--where is not a valid expression"):
        WhereFilter(expression, "topic")


@pytest.mark.hostile("15: --where with 20,000 times not, or as many brackets, minus signs and dots")
@pytest.mark.parametrize("expression", ["not " * 20_000 + "snr > 5", "-" * 20_000 + "snr > 5",
    "(" * 20_000 + "snr" + ")" * 20_000, "a" + ".b" * 20_000, "snr" + "+snr" * 20_000])  # fmt: skip
def test_expression_that_is_nested_too_deeply(expression: str) -> None:
    with pytest.raises(UsageError, match=r"nested too deeply|too many nested") as raised:
        WhereFilter(expression, "x")
    assert len(str(raised.value)) < 500
