"""Names of fields: a misspelt one is an error, instead of a value that no alert has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice

from alertstream.alert.surveys import QUANTITIES, cutout_paths, surveys
from alertstream.avro.schema_tree import ITEMS, VALUES, Schema, fields_below, find, tree
from alertstream.avro.schemas import Schemas
from alertstream.avro.thinning import nullable_fields
from alertstream.errors import SchemaError, UsageError

MAX_SUGGESTIONS = 20_000
"""Fields of a schema among which the nearest is looked for; LSST's have 1,000 to 1,500."""

_ABOUT_FIELDS = (
    "alertstream schema show 11.1 shows what LSST's alerts have; --schemas DIR adds other schemas"
)


def require_fields(
    names: Iterable[str], schemas: Schemas, more: Sequence[Schema] = (), *, where: str
) -> None:
    """Check that names are quantities, or dotted paths that a schema has.

    With a registry, everything passes: its schemas are not known beforehand.

    :raises UsageError: no schema has a field.
    """
    if not schemas.known_in_advance:
        return
    missing = [name for name in names if name not in QUANTITIES]
    for schema in _known(schemas, more) if missing else ():
        missing = missing_in(schema, missing)
        if not missing:
            # To read all schemas takes half a second.
            return
    known_later = _known_later(schemas, more) if missing else ()
    if missing := [name for name in missing if name.partition(".")[0] not in known_later]:
        near = _nearest(missing[0], schemas, more)
        todo = f"did you mean {near}?" if near else _ABOUT_FIELDS
        raise UsageError(
            f"no schema has the field {missing[0] or repr('')}", where=where, todo=todo
        )


def fields_without(names: Iterable[str], schemas: Schemas) -> frozenset[str]:
    """Return the top-level fields to null; ``cutouts`` stands for those of all surveys.

    :raises UsageError: no schema has one as a field that can be null.
    """
    given = [*names]
    fields = frozenset(given) - {"cutouts"} | (cutout_paths() if "cutouts" in given else set())
    if not schemas.known_in_advance:
        return fields
    newest, *others = [nullable_fields(each) for each in _known(schemas, ())]
    if wrong := fields.difference(_known_later(schemas), newest, *others):
        raise UsageError(
            f"no schema has a field {min(wrong) or repr('')} that can be null",
            where="--without",
            todo=f"leave out cutouts, or any of {', '.join(newest)}",
        )
    return fields


def _known_later(schemas: Schemas, more: Sequence[Schema] = ()) -> frozenset[str]:
    """Return top-level fields of which only the schemas in messages tell."""
    known = {field["name"] for schema in _known(schemas, more) for field in schema["fields"]}
    later = (each for each in surveys() if each.containers and each.detection not in known)
    return frozenset(name for survey in later for name in survey.top_level)


def missing_in(schema: Schema, names: Iterable[str]) -> list[str]:
    """Return the dotted paths that a schema does not have."""
    root = tree(schema)
    return [name for name in names if next(find(root, name.split(".")), None) is None]


def dotted_paths(schema: Schema) -> Iterator[str]:
    """Yield the dotted paths of a schema's fields, in order, but for those in maps."""
    for path, _ in fields_below(tree(schema)):
        if VALUES not in path:
            yield ".".join(name for name in path if name != ITEMS)


def _known(schemas: Schemas, more: Sequence[Schema]) -> Iterator[Schema]:
    """Yield all schemas, the newest first, except those whose files are not valid."""
    yield from more
    for schema_id in reversed(schemas.ids()):
        with suppress(SchemaError):
            yield schemas.by_id(schema_id)


def _nearest(name: str, schemas: Schemas, more: Sequence[Schema]) -> str | None:
    paths = dict.fromkeys(sorted(QUANTITIES))
    for schema in _known(schemas, more):
        paths |= dict.fromkeys(islice(dotted_paths(schema), MAX_SUGGESTIONS))
    same_end = [path for path in paths if path.endswith(f".{name}")]
    return next(iter(same_end or get_close_matches(name, paths, n=1)), None)
