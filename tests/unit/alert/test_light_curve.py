"""The light curve of an alert's object: each measurement once, whatever the stream holds."""

from __future__ import annotations

import math
from typing import Any

import pytest

from alertstream.alert.light_curve import light_curve
from alertstream.alert.surveys import surveys

LSST, ZTF = surveys()[:2]


def source(mjd: Any = 61000.5, flux: Any = 100.0, error: Any = 10.0, band: Any = "r") -> Any:
    return {"midpointMjdTai": mjd, "psfFlux": flux, "psfFluxErr": error, "band": band}


def test_measurements_are_in_order_of_time() -> None:
    alert = {
        "diaSource": source(),
        "prvDiaSources": [source(60990.0, -5.0), source(60980.0)],
        "prvDiaForcedSources": [source(60985.0, band="g")],
    }
    assert light_curve(alert, LSST) == [
        ("detection", 60980.0, "r", 100.0, 10.0),
        ("forced", 60985.0, "g", 100.0, 10.0),
        ("detection", 60990.0, "r", -5.0, 10.0),
        ("now", 61000.5, "r", 100.0, 10.0),
    ]


def test_fields_of_old_versions_and_what_was_not_decoded() -> None:
    old = {"midPointTai": 60980.0, "psFlux": 7.0, "filterName": "i"}
    assert light_curve({"diaSource": old}, LSST) == [("now", 60980.0, "i", 7.0, 0.0)]
    assert light_curve({}, LSST) == []
    assert light_curve({"diaSource": None, "prvDiaSources": None}, LSST) == []


def test_what_found_nothing_is_a_limit() -> None:
    own = {"jd": 2458814.5, "exptime": 0.0, "fid": 1, "magpsf": 18.9, "sigmapsf": 0.1}
    limits = [
        {"jd": 2458790.5, "exptime": 0.0, "fid": 2, "magpsf": value, "diffmaglim": 18.9}
        for value in (None, math.nan)
    ]
    found = light_curve({"candidate": own, "prv_candidates": limits}, ZTF)
    limit = ("limit", 58790.0, "r", pytest.approx(100_000.0), 0.0)
    assert found[:2] == [limit, limit]
    assert found[2] == ("now", 58814.0, "g", *map(pytest.approx, (100_000.0, 9210.34)))


def test_what_faded_is_below_zero() -> None:
    now = {"jd": 2458814.5, "magpsf": 18.9, "isdiffpos": "f"}
    earlier = [now | {"jd": 2458813.5, "isdiffpos": each} for each in ("t", "0", None)]
    found = light_curve({"candidate": now, "prv_candidates": earlier}, ZTF)
    assert [round(each.value) for each in found] == [100_000, -100_000, 100_000, -100_000]


@pytest.mark.parametrize(
    "odd",
    [
        *(source(flux=each) for each in (math.nan, math.inf, 1e300, None)),
        *(source(each) for each in (math.inf, 1e300, None)),
        *({}, None, 7, "x"),
    ],
)
def test_what_has_no_time_or_value_is_left_out(odd: Any) -> None:
    alert = {"diaSource": source(), "prvDiaSources": [odd]}
    assert [each.kind for each in light_curve(alert, LSST)] == ["now"]


@pytest.mark.parametrize("error", [math.nan, math.inf, -1.0, None, 1e300])
def test_errors_that_are_not_known_are_zero(error: float | None) -> None:
    (now,) = light_curve({"diaSource": source(error=error)}, LSST)
    assert now.error == 0.0


@pytest.mark.parametrize("odd", [source("x"), source([]), source(flux={}), source(error="x")])
def test_other_types_are_errors(odd: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        light_curve({"diaSource": source(), "prvDiaSources": [odd]}, LSST)
