"""A schema as a tree of types: what contains what, fields by their paths, a schema cut to paths.

All questions about a schema are answered here, so that arrays, maps, unions and named types mean
the same everywhere. A path is a tuple of field names. An array on the way is passed through;
a map takes one name of the path for its key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from alertstream.errors import SchemaError

PRIMITIVES = ("boolean", "bytes", "double", "float", "int", "long", "null", "string")
ITEMS, VALUES = "[]", "{}"
"""What stands in the path of :func:`fields_below` for an array's items and a map's values."""

Schema = dict[str, Any]
Path = tuple[str, ...]
_CONTENTS = {"array": "items", "map": "values"}


class Field(NamedTuple):
    """A record's field, and what the schema says of it (``default``, ``doc``, ``aliases``)."""

    name: str
    type: Type
    schema: Mapping[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Type:
    """A type in a schema. A named type is one object, however often the schema refers to it.

    :param kind: ``record``, ``enum``, ``fixed``, ``array``, ``map``, ``union``, or a primitive one.
    :param schema: the type as the schema defines it.
    :param name: full name of a record, enum or fixed type.
    :param inside: a union's branches, an array's items, a map's values, the types of fields.
    """

    kind: str
    schema: Any
    name: str = ""
    inside: tuple[Type, ...] = ()
    fields: tuple[Field, ...] = ()

    @property
    def short_name(self) -> str:
        """Its name without the namespace."""
        return self.name.rpartition(".")[2]


class Match(NamedTuple):
    """What :func:`find` has found at a path.

    :param through: the records on the way, each with the field that leads on.
    :param arrays: how many arrays are on the way: there is a value for each of their items.
    """

    type: Type
    through: tuple[tuple[Type, Field], ...] = ()
    arrays: int = 0


def tree(schema: Any) -> Type:
    """Return the tree of a schema that fastavro has parsed.

    :raises SchemaError: a type contains itself, or refers to what is not defined.
    """
    return _built(schema, {})


def _built(schema: Any, named: dict[str, Type | None]) -> Type:
    """Return a type's tree.

    :param named: the named types that came before; None marks those that are being defined.
    """
    if isinstance(schema, list):
        return Type("union", schema, inside=tuple(_built(each, named) for each in schema))
    if isinstance(schema, str):
        if schema not in PRIMITIVES and schema not in named:
            raise SchemaError(f"a schema with an undefined type {schema}")
        known = named.get(schema, Type(schema, schema))
        if known is None:
            raise SchemaError("a schema with a type that contains itself")
        return known
    kind = "record" if schema["type"] == "error" else schema["type"]
    if kind in _CONTENTS:
        return Type(kind, schema, inside=(_built(schema[_CONTENTS[kind]], named),))
    if kind not in ("record", "enum", "fixed"):
        return Type(kind, schema)
    name: str = schema["name"]
    named[name] = None
    fields = tuple(
        Field(each["name"], _built(each["type"], named), each)
        for each in (schema["fields"] if kind == "record" else ())
    )
    named[name] = found = Type(kind, schema, name, tuple(each.type for each in fields), fields)
    return found


def walk(node: Type) -> Iterator[Type]:
    """Yield a type and all types in it, each once, in the order of the schema."""
    seen: set[Type] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            yield node
            waiting += reversed(node.inside)


def fields_below(node: Type, path: Path = ()) -> Iterator[tuple[Path, Field]]:
    """Yield all fields in a type with their paths, in order.

    Unlike elsewhere, arrays and maps on the way show in the path, as ``ITEMS`` and ``VALUES``.
    """
    if node.kind == "record":
        for field in node.fields:
            here = (*path, field.name)
            yield here, field
            yield from fields_below(field.type, here)
        return
    step = {"array": (ITEMS,), "map": (VALUES,)}.get(node.kind, ())
    for each in node.inside:
        yield from fields_below(each, (*path, *step))


def find(node: Type, path: Sequence[str]) -> Iterator[Match]:
    """Yield what is at a path; in several branches of a union, there may be several."""
    if not path:
        yield Match(node)
    elif node.kind == "record":
        for field in node.fields:
            if field.name == path[0]:
                for type_, through, arrays in find(field.type, path[1:]):
                    yield Match(type_, ((node, field), *through), arrays)
    elif node.kind == "map":
        yield from find(node.inside[0], path[1:])
    else:
        for each in node.inside:
            for type_, through, arrays in find(each, path):
                yield Match(type_, through, arrays + (node.kind == "array"))


Selection = Mapping[str, set[str]]
"""Names of fields, by the full name of their record."""


def select(node: Type, paths: Iterable[Sequence[str]]) -> Selection:
    """Return the fields that lead to ``paths``, and all fields of what is there.

    A record that stands in several places (LSST's diaSource) has one definition in a schema, so
    it gets the fields that any of the places needs. What the schema does not have is left out.
    """
    selected: dict[str, set[str]] = {}
    for path in paths:
        for match in find(node, path):
            for record, field in match.through:
                selected.setdefault(record.name, set()).add(field.name)
            for record in walk(match.type):
                if record.kind == "record":
                    names = {field.name for field in record.fields}
                    selected.setdefault(record.name, set()).update(names)
    return selected


def cut(node: Type, selected: Selection) -> Any:
    """Return the schema of a type with only the selected fields of its records."""
    defined: set[str] = set()

    def schema_of(node: Type) -> Any:
        if node.kind == "union":
            return [schema_of(each) for each in node.inside]
        if node.kind in _CONTENTS:
            return {**node.schema, _CONTENTS[node.kind]: schema_of(node.inside[0])}
        if not node.name:
            return node.schema
        if node.name in defined:
            return node.name
        defined.add(node.name)
        if node.kind != "record":
            return node.schema
        fields = [
            {**field.schema, "type": schema_of(field.type)}
            for field in node.fields
            if field.name in selected.get(node.name, ())
        ]
        return {"type": "record", "name": node.name, "fields": fields}

    return schema_of(node)
