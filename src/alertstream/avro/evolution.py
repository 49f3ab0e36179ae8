"""From one schema to the next: what is different, and whether old readers can read new data.

A field is named by its path from the top, with ``[]`` for an array's items and ``{}`` for a map's
values: ``prvDiaSources[].snr``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from alertstream.avro.schema_tree import ITEMS, VALUES, Schema, Type, fields_below, tree

_PROMOTED = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
"""As which other types a reader may have a type (Avro specification, "Schema Resolution")."""


def differences(a: Schema, b: Schema) -> list[str]:
    """Return how ``b`` differs from ``a``, a line a field, in order; nothing if it does not."""
    before, after = _described(a), _described(b)
    lines = [f"- {path}: {kind}" for path, (kind, _) in before.items() if path not in after]
    for path, (kind, default) in after.items():
        old_kind, old_default = before.get(path, ("", ""))
        if not old_kind:
            stated = "" if default == "none" else f", default {default}"
            lines.append(f"+ {path}: {kind}{stated}")
            continue
        if old_kind != kind:
            lines.append(f"~ {path}: type {old_kind} → {kind}")
        if old_default != default:
            lines.append(f"~ {path}: default {old_default} → {default}")
    if [path for path in before if path in after] != [path for path in after if path in before]:
        lines.append("~ the fields are in a different order")
    return lines


def obstacles(written: Schema, read: Schema) -> list[str]:
    """Return why data written with one schema cannot be read with another; nothing if they can.

    By the rules of the Avro specification, "Schema Resolution": names count without namespace.
    """
    return list(dict.fromkeys(_unreadable(tree(written), tree(read), "")))


def _described(schema: Schema) -> dict[str, tuple[str, str]]:
    """Return each field's type and default in a few words, by the field's path."""
    found = {}
    for path, field in fields_below(tree(schema)):
        name = ".".join(path).replace(f".{ITEMS}", ITEMS).replace(f".{VALUES}", VALUES)
        default = json.dumps(field.schema["default"]) if "default" in field.schema else "none"
        found[name] = (_text(field.type), default)
    return found


def _text(node: Type) -> str:
    """Return a type in a few words: ``null | double``, ``array of diaSource``."""
    match node.kind:
        case "union":
            return " | ".join(map(_text, node.inside))
        case "array" | "map":
            return f"{node.kind} of {_text(node.inside[0])}"
        case "enum":
            return f"enum {node.short_name} ({', '.join(node.schema['symbols'])})"
        case "fixed":
            return f"fixed {node.short_name} ({node.schema['size']} bytes)"
        case "record":
            return node.short_name
    logical = node.schema.get("logicalType") if isinstance(node.schema, dict) else None
    return f"{node.kind} ({logical})" if logical else node.kind


def _unreadable(written: Type, read: Type, path: str) -> Iterator[str]:
    """Yield why what is written as one type cannot be read as another."""
    if written.kind == "union":
        for branch in written.inside:
            yield from _unreadable(branch, read, path)
    elif read.kind == "union":
        readable = (next(_unreadable(written, each, path), None) is None for each in read.inside)
        if not any(readable):
            alike = [branch for branch in read.inside if _text(branch) == _text(written)]
            if alike:
                yield from _unreadable(written, alike[0], path)
            else:
                yield _other_type(written, read, path)
    elif written.kind != read.kind:
        if read.kind not in _PROMOTED.get(written.kind, ()):
            yield _other_type(written, read, path)
    elif written.kind in ("array", "map"):
        step = ITEMS if written.kind == "array" else VALUES
        yield from _unreadable(written.inside[0], read.inside[0], f"{path}{step}")
    elif written.name:
        yield from _unreadable_named(written, read, path)


def _unreadable_named(written: Type, read: Type, path: str) -> Iterator[str]:
    aliases: Any = read.schema.get("aliases", ())
    if written.short_name != read.short_name and written.name not in aliases:
        yield _other_type(written, read, path)
    elif written.kind == "enum":
        symbols = read.schema["symbols"]
        unknown = [each for each in written.schema["symbols"] if each not in symbols]
        if unknown and "default" not in read.schema:
            yield f"{path}: {', '.join(unknown)} is not one of the old symbols"
    elif written.kind == "fixed":
        if written.schema["size"] != read.schema["size"]:
            yield _other_type(written, read, path)
    else:
        yield from _unreadable_fields(written, read, path)


def _unreadable_fields(written: Type, read: Type, path: str) -> Iterator[str]:
    fields = {field.name: field for field in written.fields}
    for field in read.fields:
        inner = f"{path}.{field.name}" if path else field.name
        names = (field.name, *field.schema.get("aliases", ()))
        known = next((fields[name] for name in names if name in fields), None)
        if known is not None:
            yield from _unreadable(known.type, field.type, inner)
        elif "default" not in field.schema:
            yield f"{inner}: is missing, and has no default in the old schema"


def _other_type(written: Type, read: Type, path: str) -> str:
    what = path or "the alert"
    return f"{what}: is written as {_text(written)}, which cannot be read as {_text(read)}"
