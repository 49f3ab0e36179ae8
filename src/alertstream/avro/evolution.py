"""From one schema to the next: what is different, and who can still read what.

A field's path is its way from the top, ``[]`` for an array's items: ``prvDiaSources[].snr``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from alertstream.avro.schemas import Schema, full_name

_PROMOTED = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
"""As which other types a reader may have a type (Avro specification, "Schema Resolution")."""
_MISSING = object()

Definitions = dict[str, Schema]


class _Field(NamedTuple):
    type: str
    default: Any


def differences(a: Schema, b: Schema) -> list[str]:
    """Return how ``b`` differs from ``a``, a line a field, in order; nothing if it does not."""
    before, after = _fields(a), _fields(b)
    lines = [f"- {path}: {field.type}" for path, field in before.items() if path not in after]
    for path, field in after.items():
        old = before.get(path)
        if old is None:
            lines.append(f"+ {path}: {field.type}{_defaulting(field)}")
            continue
        if old.type != field.type:
            lines.append(f"~ {path}: type {old.type} → {field.type}")
        if _json(old.default) != _json(field.default):
            lines.append(f"~ {path}: default {_json(old.default)} → {_json(field.default)}")
    if [path for path in before if path in after] != [path for path in after if path in before]:
        lines.append("~ the fields come in another order")
    return lines


def obstacles(written: Schema, read: Schema) -> list[str]:
    """Return why data written with one schema cannot be read with another; nothing if they can.

    By the rules of the Avro specification, "Schema Resolution": names count without namespace.
    """
    return list(
        dict.fromkeys(_Resolution(_definitions(written), _definitions(read)).of(written, read))
    )


def _fields(schema: Schema) -> dict[str, _Field]:
    found: dict[str, _Field] = {}
    definitions = _definitions(schema)

    def walk(node: Any, path: str) -> None:
        node = _defined(node, definitions)
        if isinstance(node, list):
            for branch in node:
                walk(branch, path)
        elif isinstance(node, dict) and node["type"] in ("array", "map"):
            walk(node.get("items", node.get("values")), f"{path}[]")
        elif isinstance(node, dict) and node["type"] == "record":
            for field in node["fields"]:
                inner = f"{path}.{field['name']}" if path else field["name"]
                kind = _text(field["type"], definitions)
                found[inner] = _Field(kind, field.get("default", _MISSING))
                walk(field["type"], inner)

    walk(schema, "")
    return found


def _definitions(node: Any) -> Definitions:
    """Return the named types that are defined in a parsed schema, by full name."""
    found: Definitions = {}
    if isinstance(node, list):
        for branch in node:
            found |= _definitions(branch)
    elif isinstance(node, dict):
        if "name" in node and "type" in node and "default" not in node:
            found[full_name(node)] = node
        for key in ("type", "items", "values"):
            found |= _definitions(node.get(key))
        for field in node.get("fields", ()):
            found |= _definitions(field["type"])
    return found


def _defined(node: Any, definitions: Definitions) -> Any:
    return definitions.get(node, node) if isinstance(node, str) else node


def _text(node: Any, definitions: Definitions) -> str:
    """Return a type in a few words: ``null | double``, ``array of diaSource``."""
    node = _defined(node, definitions)
    if isinstance(node, list):
        return " | ".join(_text(branch, definitions) for branch in node)
    if isinstance(node, str):
        return node
    kind = node["type"]
    if kind in ("array", "map"):
        return f"{kind} of {_text(node.get('items', node.get('values')), definitions)}"
    if kind == "enum":
        return f"enum {_short(node)} ({', '.join(node['symbols'])})"
    if kind == "fixed":
        return f"fixed {_short(node)} ({node['size']} bytes)"
    if kind == "record":
        return _short(node)
    logical = node.get("logicalType")
    return f"{_text(kind, definitions)} ({logical})" if logical else _text(kind, definitions)


def _short(node: Schema) -> str:
    return full_name(node).rpartition(".")[2]


def _json(default: Any) -> str:
    return "none" if default is _MISSING else json.dumps(default)


def _defaulting(field: _Field) -> str:
    return "" if field.default is _MISSING else f", default {_json(field.default)}"


class _Resolution:
    """Compares what was written (W) with what is read (R), type by type."""

    def __init__(self, written: Definitions, read: Definitions) -> None:
        self._written = written
        self._read = read

    def of(self, w: Any, r: Any, path: str = "") -> Iterator[str]:
        """Yield why ``w`` cannot be read as ``r``."""
        w, r = _defined(w, self._written), _defined(r, self._read)
        if isinstance(w, list):
            for branch in w:
                yield from self.of(branch, r, path)
        elif isinstance(r, list):
            if not any(self._matches(w, branch, path) for branch in r):
                alike = [each for each in r if _text(each, self._read) == _text(w, self._written)]
                yield from self.of(w, alike[0], path) if alike else [self._other_type(w, r, path)]
        elif _kind(w) != _kind(r):
            if _kind(r) not in _PROMOTED.get(_kind(w), ()):
                yield self._other_type(w, r, path)
        elif _kind(w) in ("array", "map"):
            inside = "items" if _kind(w) == "array" else "values"
            yield from self.of(w[inside], r[inside], f"{path}[]")
        elif _kind(w) in ("record", "enum", "fixed"):
            yield from self._of_named(w, r, path)

    def _matches(self, w: Any, r: Any, path: str) -> bool:
        return next(self.of(w, r, path), None) is None

    def _of_named(self, w: Schema, r: Schema, path: str) -> Iterator[str]:
        if _short(w) != _short(r) and full_name(w) not in r.get("aliases", ()):
            yield self._other_type(w, r, path)
        elif _kind(w) == "enum":
            unknown = [each for each in w["symbols"] if each not in r["symbols"]]
            if unknown and "default" not in r:
                yield f"{path}: {', '.join(unknown)} is not among the old symbols"
        elif _kind(w) == "fixed":
            if w["size"] != r["size"]:
                yield self._other_type(w, r, path)
        else:
            yield from self._of_fields(w, r, path)

    def _of_fields(self, w: Schema, r: Schema, path: str) -> Iterator[str]:
        fields = {field["name"]: field for field in w["fields"]}
        for field in r["fields"]:
            inner = f"{path}.{field['name']}" if path else field["name"]
            known = [name for name in (field["name"], *field.get("aliases", ())) if name in fields]
            if known:
                yield from self.of(fields[known[0]]["type"], field["type"], inner)
            elif "default" not in field:
                yield f"{inner}: is missing, and has no default in the old schema"

    def _other_type(self, w: Any, r: Any, path: str) -> str:
        written, read = _text(w, self._written), _text(r, self._read)
        return f"{path or 'the whole'}: is written as {written}, which cannot be read as {read}"


def _kind(node: Any) -> str:
    if isinstance(node, str):
        return node
    kind = node["type"]
    return kind if isinstance(kind, str) else _kind(kind)
