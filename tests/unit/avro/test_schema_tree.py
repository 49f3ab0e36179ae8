"""Schemas as trees: arrays, maps, unions and named types mean the same to all who ask."""

from __future__ import annotations

from typing import Any

import fastavro
import pytest

from alertstream.avro.schema_tree import (
    ITEMS,
    VALUES,
    Type,
    cut,
    fields_below,
    find,
    select,
    tree,
    walk,
)
from alertstream.avro.schemas import Schemas
from alertstream.errors import SchemaError

SOURCE = {
    "type": "record",
    "name": "source",
    "fields": [
        {"name": "snr", "type": ["null", "float"], "default": None},
        {"name": "band", "type": {"type": "enum", "name": "band", "symbols": ["g", "r"]}},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}
SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "alert",
        "namespace": "survey",
        "fields": [
            {"name": "source", "type": SOURCE},
            {"name": "earlier", "type": ["null", {"type": "array", "items": "source"}]},
            {"name": "by_name", "type": {"type": "map", "values": "source"}},
            {"name": "grid", "type": {"type": "array", "items": {"type": "array", "items": "int"}}},
            {"name": "md5", "type": {"type": "fixed", "name": "md5", "size": 16}},
            {"name": "either", "type": ["source", "string"]},
        ],
    }
)
ROOT = tree(SCHEMA)


def kinds(path: str) -> list[tuple[str, int]]:
    return [(match.type.kind, match.arrays) for match in find(ROOT, path.split("."))]


def test_a_named_type_is_one_object_wherever_it_is_referred_to() -> None:
    (first,) = find(ROOT, ["source"])
    for path in (["earlier"], ["by_name"], ["either"]):
        (match,) = find(ROOT, path)
        assert first.type in set(walk(match.type))
    assert first.type.name == "survey.source"
    assert first.type.short_name == "source"
    assert [field.name for field in first.type.fields] == ["snr", "band", "time"]
    assert first.type.fields[0].schema["default"] is None


def test_walk_yields_each_type_once_in_order() -> None:
    named = [node.name for node in walk(ROOT) if node.name]
    assert named == ["survey.alert", "survey.source", "survey.band", "survey.md5"]
    assert len({*walk(ROOT)}) == len([*walk(ROOT)])


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("source", [("record", 0)]),
        ("source.snr", [("union", 0)]),
        ("source.time", [("long", 0)]),
        ("earlier", [("union", 0)]),
        ("earlier.snr", [("union", 1)]),
        ("by_name", [("map", 0)]),
        ("by_name.anything", [("record", 0)]),
        ("by_name.anything.band", [("enum", 0)]),
        ("by_name.band.snr.x", []),
        ("grid", [("array", 0)]),
        ("either.snr", [("union", 0)]),
        ("md5", [("fixed", 0)]),
        *((path, []) for path in ("", "snr", "source.", "source.snrr", "md5.x", "earlier.earlier")),
    ],
)
def test_what_is_at_a_path(path: str, found: list[tuple[str, int]]) -> None:
    assert kinds(path) == found


def test_every_branch_of_a_union_is_looked_into() -> None:
    either = fastavro.parse_schema(
        {"type": "record", "name": "r", "fields": [{"name": "u", "type": [
            {"type": "record", "name": "a", "fields": [{"name": "x", "type": "int"}]},
            {"type": "record", "name": "b", "fields": [{"name": "x", "type": "string"}]},
        ]}]}
    )  # fmt: skip
    root = tree(either)
    assert [match.type.kind for match in find(root, ["u", "x"])] == ["int", "string"]
    assert select(root, [["u", "x"]]) == {"r": {"u"}, "a": {"x"}, "b": {"x"}}


def test_fields_below_go_through_everything() -> None:
    paths = [path for path, _ in fields_below(ROOT)]
    inside = ["snr", "band", "time"]
    assert paths == [
        ("source",),
        *(("source", name) for name in inside),
        ("earlier",),
        *(("earlier", ITEMS, name) for name in inside),
        ("by_name",),
        *(("by_name", VALUES, name) for name in inside),
        *(("grid",), ("md5",), ("either",)),
        *(("either", name) for name in inside),
    ]


def test_cut_to_paths_defines_each_type_where_it_comes_first() -> None:
    selected = select(ROOT, [["earlier", "snr"], ["by_name", "any", "band"], ["no", "such"]])
    assert selected == {"survey.alert": {"earlier", "by_name"}, "survey.source": {"snr", "band"}}
    schema = cut(ROOT, selected)
    earlier, by_name = schema["fields"]
    source = earlier["type"][1]["items"]
    assert [field["name"] for field in source["fields"]] == ["snr", "band"]
    assert source["fields"][0]["default"] is None
    assert by_name["type"]["values"] == "survey.source"
    assert fastavro.parse_schema(schema)


def test_a_path_to_a_record_selects_all_of_it() -> None:
    assert select(ROOT, [["source"]])["survey.source"] == {"snr", "band", "time"}
    assert cut(ROOT, {})["fields"] == []
    everything = select(ROOT, [[field.name] for field in ROOT.fields])
    again = tree(fastavro.parse_schema(cut(ROOT, everything)))
    assert [*fields_below(again)] != []
    assert [path for path, _ in fields_below(again)] == [path for path, _ in fields_below(ROOT)]


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (["null", "r"], "contains itself"),
        ({"type": "array", "items": "r"}, "contains itself"),
        ({"type": "map", "values": "r"}, "contains itself"),
        ("elsewhere", "undefined type elsewhere"),
    ],
)
def test_what_has_no_tree(kind: Any, what: str) -> None:
    with pytest.raises(SchemaError, match=what):
        tree({"type": "record", "name": "r", "fields": [{"name": "f", "type": kind}]})


def test_types_that_double_take_no_time() -> None:
    first = {"type": "record", "name": "r0", "fields": []}
    fields: list[dict[str, Any]] = [{"name": "f", "type": first}]
    for number in range(1, 60):
        twice = [{"name": name, "type": f"r{number - 1}"} for name in "ab"]
        record = {"type": "record", "name": f"r{number}", "fields": twice}
        fields.append({"name": f"f{number}", "type": record})
    root = tree({"type": "record", "name": "top", "fields": fields})
    assert len([*walk(root)]) == 61
    assert next(find(root, ["f59", "a", "b", "a"])).type.name == "r56"


def test_every_schema_of_the_package_has_one() -> None:
    schemas = Schemas()
    for schema_id in schemas.ids():
        root = tree(schemas.by_id(schema_id))
        assert {"diaSource", "cutoutDifference"} <= {field.name for field in root.fields}
        assert isinstance(next(find(root, ["diaSource", "ra"])).type, Type)
