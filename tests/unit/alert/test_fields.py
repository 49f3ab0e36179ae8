"""Misspelt fields: told at once, with the nearest that there is, instead of never true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alertstream.alert.fields import dotted_paths, missing_in, require_fields
from alertstream.avro.schemas import Schemas, parsed
from alertstream.errors import UsageError

INNER = {
    "type": "record",
    "name": "inner",
    "fields": [{"name": "snr", "type": ["null", "float"]}, {"name": "m", "type": "int"}],
}
SCHEMA = {
    "type": "record",
    "name": "own.alert",
    "fields": [
        {"name": "one", "type": ["null", INNER]},
        {"name": "many", "type": ["null", {"type": "array", "items": "own.inner"}]},
        {"name": "by_name", "type": {"type": "map", "values": "double"}},
    ],
}
SCHEMAS = Schemas()


def require(*names: str, schemas: Schemas | None = None) -> None:
    require_fields(names, schemas or SCHEMAS, where="here")


def test_dotted_paths_go_through_unions_and_arrays() -> None:
    paths = ["one", "one.snr", "one.m", "many", "many.snr", "many.m", "by_name"]
    assert [*dotted_paths(parsed(SCHEMA))] == paths
    assert missing_in(parsed(SCHEMA), [*paths, "by_name.any"]) == []
    wrong = ["snr", "one.snrr", "one.snr.x", "many.many", "", "one."]
    assert missing_in(parsed(SCHEMA), wrong) == wrong


@pytest.mark.parametrize(
    "name",
    [
        *("snr", "visit", "magnitude_error", "diaSource", "diaSource.snr", "diaSource.psFlux"),
        *("prvDiaSources.psfFlux", "diaObject.ra", "alertId", "cutoutScience", "ssObject"),
        *("objectId", "candidate.anything", "prv_candidates.fid", "cutoutScience.fileName"),
    ],
)
def test_fields_of_any_version_and_of_ztf(name: str) -> None:
    require(name)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("snrr", "snr"),
        ("diaSource.snrr", "diaSource.snr"),
        ("diasource.snr", "diaSource.snr"),
        ("psfFlux", "diaSource.psfFlux"),
        ("diaSource.relability", "diaSource.reliability"),
        ("diaSource.snr.x", "diaSource.snr"),
        ("candidat.magpsf", None),
        ("xyzzy", None),
        ("", None),
    ],
)
def test_fields_of_none(name: str, near: str | None) -> None:
    with pytest.raises(UsageError, match="no schema has the field") as told:
        require("snr", name)
    assert near is None or str(told.value).endswith(f"did you mean {near}?")
    assert near is not None or "did you mean xyz" not in str(told.value)


def test_fields_of_the_users_schemas(tmp_path: Path) -> None:
    (tmp_path / "4242.avsc").write_text(json.dumps(SCHEMA))
    (tmp_path / "4243.avsc").write_text("no schema")
    require("one.snr", "many.m", "by_name.x", "diaSource.snr", schemas=Schemas([tmp_path]))
    with pytest.raises(UsageError, match=r"did you mean many\.snr"):
        require("many.snrs", schemas=Schemas([tmp_path]))
    with pytest.raises(UsageError):
        require("one.snr")
    require_fields(["one.snr"], SCHEMAS, [parsed(SCHEMA)], where="here")


def test_a_schema_of_many_paths_takes_no_time() -> None:
    node: Any = "int"
    for level in range(15):
        fields = [{"name": "a", "type": node}, {"name": "b", "type": f"r{level - 1}"}]
        node = {"type": "record", "name": f"r{level}", "fields": fields[: 2 if level else 1]}
    with pytest.raises(UsageError, match=r"no schema has the field a\.a\.x"):
        require_fields(["a.a.x"], SCHEMAS, [parsed(node)], where="here")
