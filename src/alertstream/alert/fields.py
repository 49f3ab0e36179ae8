"""Names of fields: what is misspelt is an error, instead of a value that no alert has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice
from typing import Any

from alertstream.alert.surveys import QUANTITIES, SURVEYS
from alertstream.avro.codec import named_types
from alertstream.avro.schemas import Schema, Schemas
from alertstream.errors import AlertStreamError, SchemaError

MOST_SUGGESTED = 20_000
"""Fields of a schema among which the nearest is looked for; LSST's have 1,000 to 1,500."""

# What these records have is only known once their schema comes, in a message.
_NOT_FORESEEN = frozenset().union(*(survey.carried for survey in SURVEYS))


def require_fields(
    names: Iterable[str],
    schemas: Schemas,
    more: Sequence[Schema] = (),
    *,
    where: str,
    error: type[AlertStreamError] = SchemaError,
) -> None:
    """Check that names are quantities, or dotted paths that a schema has.

    All passes where a registry has the schemas: they are not known beforehand.

    :param more: schemas that are known besides.
    :param where: what names the fields.
    :param error: what is raised.
    :raises AlertStreamError: no schema has a field.
    """
    if not schemas.foreseen:
        return
    missing = [
        name
        for name in names
        if name not in QUANTITIES and name.partition(".")[0] not in _NOT_FORESEEN
    ]
    for schema in _known(schemas, more):
        if not missing:
            return
        missing = missing_in(schema, missing)
    if missing:
        near = _nearest(missing[0], schemas, more)
        raise error(
            f"no schema has the field {missing[0] or repr('')}",
            where=where,
            todo=f"did you mean {near}?"
            if near
            else "alertstream schema show 11.1 shows what LSST's alerts have; "
            "--schemas DIR adds other schemas",
        )


def missing_in(schema: Schema, names: Iterable[str]) -> list[str]:
    """Return the dotted paths that a schema has not."""
    types = named_types(schema)
    return [name for name in names if type_at(schema, name.split("."), types) is None]


def _known(schemas: Schemas, more: Sequence[Schema]) -> Iterator[Schema]:
    """Yield all schemas, the newest first, but for those whose file is none."""
    yield from more
    for schema_id in reversed(schemas.ids()):
        with suppress(SchemaError):
            yield schemas.by_id(schema_id)


def _nearest(name: str, schemas: Schemas, more: Sequence[Schema]) -> str | None:
    paths = dict.fromkeys(sorted(QUANTITIES))
    for schema in _known(schemas, more):
        paths |= dict.fromkeys(islice(paths_of(schema, named_types(schema)), MOST_SUGGESTED))
    same_end = [path for path in paths if path.endswith(f".{name}")]
    return next(iter(same_end or get_close_matches(name, paths, n=1)), None)


def paths_of(node: Any, types: dict[str, Schema], before: str = "") -> Iterator[str]:
    """Yield the dotted paths of a schema's fields, in order, through unions and arrays.

    :param types: the schema's named types.
    """
    node = types.get(node, node) if isinstance(node, str) else node
    if isinstance(node, list):
        for branch in node:
            yield from paths_of(branch, types, before)
    elif isinstance(node, dict) and node["type"] == "array":
        yield from paths_of(node["items"], types, before)
    for field in node.get("fields", ()) if isinstance(node, dict) else ():
        yield f"{before}{field['name']}"
        yield from paths_of(field["type"], types, f"{before}{field['name']}.")


def type_at(node: Any, path: Sequence[str], types: dict[str, Schema]) -> Any:
    """Return the type at a path of a schema, None if none is there; through an array, an array.

    :param types: the schema's named types.
    """
    node = types.get(node, node) if isinstance(node, str) else node
    if not path:
        return node
    if isinstance(node, list):
        found = (type_at(each, path, types) for each in node)
        return next((each for each in found if each is not None), None)
    if isinstance(node, dict) and node["type"] == "array":
        inside = type_at(node["items"], path, types)
        return None if inside is None else {"type": "array", "items": inside}
    if isinstance(node, dict) and node["type"] == "map":
        return type_at(node["values"], path[1:], types)
    for each in node.get("fields", ()) if isinstance(node, dict) else ():
        if each["name"] == path[0]:
            return type_at(each["type"], path[1:], types)
    return None
