"""Surveys are told apart by their schemas; their units, signs and times are met as they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alertstream.alert import surveys as known
from alertstream.alert.alert import Alert
from alertstream.alert.surveys import add_survey, field_paths, not_in_schema, survey_of, surveys
from alertstream.alert.surveys.survey import QUANTITIES, UNKNOWN, Survey
from alertstream.avro.schemas import Schema, Schemas, parsed
from alertstream.errors import UsageError

TABLE = """
name = "GOTO"
schemas = ["goto.alert"]

[quantities]
source_id = "id"
magnitude = "detection.mag"

[time]
field = "detection.mjd"
"""


@pytest.fixture(autouse=True)
def _no_surveys_of_users() -> Iterator[None]:
    yield
    known._added.clear()


def named(name: str) -> Survey:
    return next(each for each in surveys() if each.name == name)


def schema(name: str, *fields: str) -> Schema:
    """A schema with these dotted paths, each a double."""
    records: dict[str, list[str]] = {}
    for path in fields:
        record, _, field = path.rpartition(".")
        records.setdefault(record, []).append(field)

    def of(names: list[str]) -> list[dict[str, Any]]:
        return [{"name": each, "type": "double"} for each in names]

    inner = [
        {"name": each, "type": {"type": "record", "name": each, "fields": of(names)}}
        for each, names in records.items()
        if each
    ]
    return parsed({"type": "record", "name": name, "fields": of(records.get("", [])) + inner})


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "survey.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "survey"),
    [
        ("lsst.v12_3.alert", "LSST"),
        ("ztf.alert", "ZTF"),
        ("elasticc.v0_9_1.alert", "ELAsTiCC"),
        ("atlas.alert", "ATLAS"),
        ("desirt.alert", "DECam"),
        ("winter.alert", "WINTER"),
        ("rapid.v01_00.alert", "Roman RAPID"),
        ("ztf.alerts", "unknown"),
    ],
)
def test_a_schema_name_says_which_survey(name: str, survey: str) -> None:
    assert survey_of(schema(name, "n")).name == survey


@pytest.mark.parametrize("survey", [each for each in surveys() if each.fields], ids=str)
def test_a_schema_of_a_broker_is_known_by_its_fields(survey: Survey) -> None:
    assert survey_of(schema("topLevelRecord.value", *survey.fields)) is survey
    assert survey_of(schema("topLevelRecord.value", *survey.fields[1:])) is not survey


def test_all_versions_of_lsst_are_known_by_their_fields() -> None:
    schemas = Schemas()
    for each in map(schemas.by_id, schemas.ids()):
        assert survey_of(parsed(each | {"name": "other"})).name == "LSST"


def test_what_is_unknown_has_no_quantities() -> None:
    found = Alert({"candidate": {"ra": 1.0, "magpsf": 18.0}, "diaSource": {"snr": 9.0}}, UNKNOWN)
    for name in QUANTITIES:
        value = getattr(found, name)
        assert value is None or math.isnan(value), name
    assert found.value("candidate.ra") == 1.0
    assert not found.cutouts()


@pytest.mark.parametrize("fainter", ["f", "F", "0", 0, False])
def test_negative_subtractions_of_ztf(fainter: Any) -> None:
    candidate = {"magpsf": 18.9, "sigmapsf": 0.1, "isdiffpos": fainter}
    found = Alert({"candidate": candidate}, named("ZTF"))
    assert found.flux == pytest.approx(-100_000, rel=1e-6)
    assert found.flux_error == pytest.approx(9210.3, rel=1e-4)
    assert found.snr == pytest.approx(-10.857, rel=1e-3)
    assert math.isnan(found.magnitude)
    assert found.brightness == "-100000 ± 9210 nJy"


@pytest.mark.parametrize("brighter", ["t", "1", 1, True, None, "x"])
def test_positive_subtractions_of_ztf(brighter: Any) -> None:
    candidate = {"magpsf": 18.9, "sigmapsf": 0.1, "isdiffpos": brighter}
    found = Alert({"candidate": candidate}, named("ZTF"))
    assert (found.magnitude, found.magnitude_error) == (18.9, 0.1)
    assert (round(found.flux), round(found.snr, 3)) == (100_000, 10.857)


def test_upper_limits_are_no_detections() -> None:
    earlier = [{"candid": None, "diffmaglim": 20.5}, {"candid": 7, "magpsf": 18.0}]
    found = Alert({"candidate": {}, "prv_candidates": earlier}, named("ZTF"))
    assert found.history == 1
    assert Alert({"candidate": {}, "prv_candidates": None}, named("ZTF")).history == 0


@pytest.mark.parametrize(("exposure", "seconds"), [(300.0, 150), (None, 15), (math.nan, 15)])
def test_times_of_ztf_are_the_start_of_the_exposure(exposure: Any, seconds: float) -> None:
    found = Alert({"candidate": {"jd": 2_458_814.5, "exptime": exposure}}, named("ZTF"))
    assert found.mjd == pytest.approx(58_814.0 + seconds / 86_400, abs=1e-9)
    assert found.shutter == pytest.approx((58_814 - 40_587) * 86_400 + 2 * seconds, abs=1e-3)


@pytest.mark.parametrize(
    ("survey", "fields", "magnitude", "snr"),
    [
        # Values of alerts that these surveys have published.
        ("ELAsTiCC", {"diaSource": {"psFlux": 149.589, "snr": 41.1}}, 22.063, 41.1),
        ("ATLAS", {"candidate": {"flux": 173.78, "Dflux": 17.378}}, 18.300, 10.0),
        ("DECam", {"candidate": {"psfFlux": 1375.25, "psfFluxErr": 255.23}}, 23.554, 5.388),
        ("Roman RAPID", {"diaSource": {"psfFlux": 36_307.8, "snr": 9.0}}, 20.0, 9.0),
    ],
)
def test_units(survey: str, fields: dict[str, Any], magnitude: float, snr: float) -> None:
    found = Alert(fields, named(survey))
    assert found.magnitude == pytest.approx(magnitude, abs=5e-4)
    assert found.snr == pytest.approx(snr, abs=1e-3)


def test_signs_of_other_surveys() -> None:
    atlas = Alert({"candidate": {"flux": 1.0, "Dflux": 0.1, "isdiffpos": "f"}}, named("ATLAS"))
    assert (round(atlas.flux), round(atlas.snr)) == (-1000, -10)
    roman = {"psfFlux": 5.0, "snr": 9.0, "isNegative": True}
    found = Alert({"diaSource": roman}, named("Roman RAPID"))
    assert (found.flux, found.snr) == (-5.0, -9.0)


def test_a_magnitude_of_no_known_system_is_no_flux() -> None:
    found = Alert({"candidate": {"magpsf": 13.4, "sigmapsf": 0.1, "fid": 2}}, named("WINTER"))
    assert (found.magnitude, found.band) == (13.4, "H")
    assert math.isnan(found.flux)


def test_a_users_table(tmp_path: Path) -> None:
    added = add_survey(table(tmp_path, TABLE))
    assert survey_of(schema("goto.alert", "n")) is added
    assert "detection.mag" in field_paths(["flux"])
    found = Alert({"id": 5, "detection": {"mag": 20.0, "mjd": 61_000.0}}, added)
    assert (found.source_id, found.mjd, round(found.flux)) == (5, 61_000.0, 36_308)


def test_a_users_table_comes_before_ours(tmp_path: Path) -> None:
    add_survey(table(tmp_path, TABLE.replace("goto", "lsst.v11_1")))
    assert survey_of(schema("lsst.v11_1.alert", "n")).name == "GOTO"
    assert survey_of(schema("lsst.v11_0.alert", "n")).name == "LSST"


def test_fields_that_a_schema_does_not_have(tmp_path: Path) -> None:
    added = add_survey(table(tmp_path, TABLE))
    assert not_in_schema(added, schema("goto.alert", "id", "detection.mjd")) == ["detection.mag"]
    assert not_in_schema(named("LSST"), schema("lsst.v1_0.alert", "n")) == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the survey has no name"),
        ('name = "A"', "nothing says which schemas are this survey's"),
        ("name = 5", "name is not a text"),
        (TABLE + "zeor = 1", "there is no key zeor in [time]"),
        ("nmae = 1" + TABLE, "there is no key nmae"),
        (TABLE.replace("magnitude", "brightness"), "there is no key brightness in [quantities]"),
        (TABLE.replace('"id"', "[1]"), "source_id is not a text or a list of texts"),
        (TABLE.replace('"id"', '"a..b"'), "source_id is not a dotted path of fields"),
        (TABLE.replace('"detection.mjd"', "[]"), "the survey has no time"),
        (TABLE + 'scale = "TDB"', "scale is neither TAI nor UTC"),
        (TABLE + 'at = "end"', "at is neither start nor middle"),
        (TABLE + 'zero = "1"', "zero is not a number"),
        (TABLE + "zero = true", "zero is not a number"),
        ("flux = 1" + TABLE, "flux is not a table"),
        ("containers = 1" + TABLE, "containers is not true or false"),
        ("name = ", "not valid TOML: Invalid value (at end of document)"),
    ],
)
def test_tables_that_are_wrong(text: str, what: str, tmp_path: Path) -> None:
    path = table(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        add_survey(path)
    assert raised.value.what == what
    assert raised.value.where == str(path)
    assert raised.value.todo


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff")
    for name in ("binary.toml", "none.toml", "."):
        with pytest.raises(UsageError):
            add_survey(tmp_path / name)
