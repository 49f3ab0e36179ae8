"""Pairs of a new and an old schema, and why the old one cannot read the new one's data."""

from __future__ import annotations

from typing import Any


def schema(*fields: dict[str, Any], name: str = "n.R", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)} | more


def of(kind: Any, **more: Any) -> dict[str, Any]:
    return schema({"name": "x", "type": kind} | more)


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols)} | more


NONE = schema()
FIXED = {"type": "fixed", "name": "F", "size": 4}
INNER = {"name": "d", "type": schema({"name": "y", "type": "int"}, name="n.D")}
PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any], str | None]] = {
    "field added": (of("int"), NONE, None),
    "field removed": (NONE, of("int"), "x: is missing, and has no default in the old schema"),
    "field with a default removed": (NONE, of("int", default=0), None),
    "field with null as its default removed": (NONE, of(["null", "int"], default=None), None),
    "int to long": (of("long"), of("int"), "x: is written as long, which cannot be read as int"),
    "long to int": (of("int"), of("long"), None),
    "float to double": (of("double"), of("float"), "x: is written as double"),
    "double to float": (of("float"), of("double"), None),
    "long to string": (of("string"), of("long"), "x: is written as string"),
    "made nullable": (of(["null", "int"]), of("int"), "x: is written as null"),
    "no longer nullable": (of("int"), of(["null", "int"]), None),
    "branch added": (of(["null", "int", "string"]), of(["null", "int"]), "written as string"),
    "branch removed": (of(["null", "int"]), of(["null", "int", "string"]), None),
    "items": (of({"type": "array", "items": "string"}), of({"type": "array", "items": "int"}),
              "x[]: is written as string"),
    "values": (of({"type": "map", "values": "int"}), of({"type": "map", "values": "long"}), None),
    "array to map": (of({"type": "map", "values": "int"}), of({"type": "array", "items": "int"}),
                     "x: is written as map of int, which cannot be read as array of int"),
    "symbol added": (of(enum("u", "g")), of(enum("u")), "x: g is not one of the old symbols"),
    "symbol added, default": (of(enum("u", "g")), of(enum("u", default="u")), None),
    "symbol removed": (of(enum("u")), of(enum("u", "g")), None),
    "fixed": (of({**FIXED, "size": 8}), of(FIXED), "x: is written as fixed F (8 bytes)"),
    "field of a field removed": (
        schema({**INNER, "type": schema(name="n.D")}), schema(INNER), "d.y: is missing"),
    "renamed, with an alias": (
        schema({"name": "z", "type": "int"}), of("int", aliases=["z"]), None),
}  # fmt: skip
