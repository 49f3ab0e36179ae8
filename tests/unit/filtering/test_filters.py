"""Filters, the cap, and the quantities that they look at."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.support import samples

from alertstream.alert.alert import Alert
from alertstream.alert.surveys import QUANTITIES, field_paths
from alertstream.errors import UsageError
from alertstream.filtering.filters import (
    AlertFilter,
    TemplateFilter,
    choose_filters,
    group_name,
    union_of_fields,
)


def names(*arguments: str) -> list[str]:
    return [each.topic for each in choose_filters(arguments)]


def test_numbers_ranges_and_names() -> None:
    assert names("1") == ["Filter001"]
    assert names("2", "Filter001", "1-3", "Filter099-Filter100") == [
        "Filter002",
        "Filter001",
        "Filter003",
        "Filter099",
        "Filter100",
    ]
    assert len(names("1-100")) == len(set(names("1-100"))) == 100


@pytest.mark.parametrize("name", ["0", "101", "3-2", "1-", "-1", "x", "Filter", "1-200"])
def test_names_of_nothing(name: str) -> None:
    with pytest.raises(UsageError):
        choose_filters([name])


def test_a_group_is_named_after_what_is_read_and_where_filters_come_from() -> None:
    assert group_name("alerts") == "filter-alerts"
    assert group_name("alerts", [Path("my/rising.py")]) == "filter-alerts-rising"
    assert group_name("alerts", [], "bright") == "filter-alerts-bright"


def alert(snr: float | None, flux: float | None) -> Alert:
    return Alert({"diaSource": {"snr": snr, "psfFlux": flux}})


@pytest.mark.parametrize(
    ("snr", "flux", "passes"),
    [
        (5.1, 36_308.0, True),
        (5.0, 36_308.0, False),
        (5.1, 36_307.0, False),
        (None, 50_000.0, False),
        (9.0, None, False),
        (math.nan, 50_000.0, False),
        (9.0, math.nan, False),
        (9.0, math.inf, True),
        (9.0, -50_000.0, False),
    ],
)
def test_template(snr: float | None, flux: float | None, passes: bool) -> None:
    assert TemplateFilter().passes(alert(snr, flux)) is passes


def test_template_of_old_names_and_of_ztf() -> None:
    assert TemplateFilter().passes(Alert({"diaSource": {"snr": 6.0, "psFlux": 40_000.0}}))
    for magnitude, error, passes in ((18.0, 0.1, True), (20.5, 0.1, False), (18.0, 0.5, False)):
        candidate = {"magpsf": magnitude, "sigmapsf": error}
        assert TemplateFilter().passes(Alert({"candidate": candidate})) is passes


def test_fields_of_all_filters() -> None:
    class ByPath(AlertFilter):
        """Has a path."""

        fields = ("diaSource.band",)

    class ByAll(AlertFilter):
        """Wants everything."""

    assert union_of_fields([TemplateFilter(), ByPath()]) == {"snr", "flux", "diaSource.band"}
    assert union_of_fields([TemplateFilter(), ByAll()]) is None
    paths = field_paths(["magnitude", "diaSource.band"])
    assert {"diaSource.psfFlux", "diaSource.psFlux", "candidate.magpsf"} < paths
    assert "diaSource.band" in paths


ALL_HAVE = (
    *("source_id", "visit", "mjd", "ra", "dec", "band", "snr", "flux", "flux_error"),
    *("magnitude", "magnitude_error", "history"),
)


@pytest.mark.parametrize("version", samples.VERSIONS)
def test_quantities_of_every_version(version: str) -> None:
    official = samples.sample_alert(version)
    found, source = Alert(official), official["diaSource"]
    assert found.survey.name == "LSST"
    assert found.source_id == source["diaSourceId"]
    assert found.visit == source.get("visit", source.get("ccdVisitId"))
    assert found.snr == pytest.approx(source["snr"])
    assert found.magnitude == pytest.approx(31.4 - 2.5 * math.log10(found.flux))
    assert found.band == "r"
    assert found.history == len(official["prvDiaSources"])
    reliability = source.get("reliability")
    assert found.reliability is reliability or math.isnan(found.reliability)
    for name in ALL_HAVE:
        value = getattr(found, name)
        assert value is not None
        assert value == value, name


def test_quantities_of_an_alert_without_any() -> None:
    for nothing in (Alert(), Alert({"diaSource": None}), Alert({"candidate": {}})):
        for name in QUANTITIES:
            value = getattr(nothing, name)
            assert value is None or math.isnan(value) or (name, value) == ("history", 0), name
        assert not TemplateFilter().passes(nothing)


def test_an_id_of_zero_is_none() -> None:
    moving = {"diaObjectId": 0, "ssObjectId": 21163620217402707}
    for source in (moving, moving | {"diaObjectId": None}):
        found = Alert({"diaSource": source})
        assert found.object_id == found.ss_object_id == 21163620217402707
    for ids in ((7, 0), (7, None)):
        found = Alert({"diaSource": dict(zip(moving, ids, strict=True))})
        assert (found.object_id, found.ss_object_id) == (7, None)
    assert Alert({"diaSource": dict.fromkeys(moving, 0)}).object_id is None


@pytest.mark.parametrize(
    "names", [("helioRange", "topoRange"), ("heliocentricDist", "topocentricDist")]
)
def test_quantities_of_the_solar_system(names: tuple[str, str]) -> None:
    ss_source = dict(zip(names, (2.5, 1.75), strict=True)) | {"phaseAngle": 12.0}
    named = {"mpc_orbits": {"designation": "2014 QX12"}}
    found = Alert({"diaSource": {"reliability": 0.9}, "ssSource": ss_source} | named)
    assert (found.heliocentric_distance, found.topocentric_distance) == (2.5, 1.75)
    assert (found.phase_angle, found.designation, found.reliability) == (12.0, "2014 QX12", 0.9)


def test_ztf_quantities() -> None:
    candidate = {"candid": 7, "pid": 5, "jd": 2_458_814.5, "fid": 2, "ra": 1.5, "dec": -2.5}
    found = Alert({"objectId": "ZTF1", "candidate": candidate | {"magpsf": 20.0, "sigmapsf": 0.1}})
    assert (found.survey.name, found.source_id, found.object_id) == ("ZTF", 7, "ZTF1")
    assert (found.visit, found.band) == (5, "r")
    assert Alert({"candidate": {"rb": 0.5, "drb": 0.75}}).reliability == 0.75
    assert Alert({"candidate": {"rb": 0.5}}).reliability == 0.5
    assert found.flux == pytest.approx(36_307.8, rel=1e-4)
    assert found.snr == pytest.approx(10.857, rel=1e-3)
