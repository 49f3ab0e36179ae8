"""Schemas and their ids: from folders of ``.avsc`` files, the package's own among them.

In a folder, ``lsst.v10_0.alert.avsc`` holds the schema with id 1000 (LSST's rule,
MAJOR * 100 + MINOR), ``4242.avsc`` the one with id 4242.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastavro.repository.base import AbstractSchemaRepository, SchemaRepositoryError
from fastavro.schema import (
    UnknownType,
    fingerprint,
    load_schema,
    parse_schema,
    to_parsing_canonical_form,
)

from alertstream.avro.bounds import memory_per_byte, require_shallow
from alertstream.avro.schema_tree import PRIMITIVES, Type, tree, walk
from alertstream.avro.schema_tree import Schema as Schema
from alertstream.errors import Notice, SchemaError
from alertstream.system.files import writing

MAX_NAME = 256
"""Characters of a field's name or a symbol, which each of an alert's values may repeat in JSON."""

FIRST_DERIVED = 10**9
"""The smallest derived id, and how many there are; a registry's begin at 1."""

TYPE_NAMES = (*PRIMITIVES, "array", "enum", "error", "fixed", "map", "record", "union")
"""What the Avro specification names types; no schema's own type is named so."""
HOW_TO_KEEP = "register it: --registry URL, or keep it for its readers: --schemas DIR"
_FIRST = ("type", "name", "namespace", "doc")
_LSST_NAME = re.compile(r"lsst\.v(\d+)_(\d+)\.alert")


def package_folder(name: str) -> Path:
    """Return the package's folder ``name`` (``data`` or ``schemas``), installed or in a clone."""
    installed = Path(str(files("alertstream"))) / "share" / name
    return installed if installed.is_dir() else Path(__file__).parents[3] / name


def version_id(name: str) -> int | None:
    """Return the id that LSST gives to the schema ``name``: 1000 for ``lsst.v10_0.alert``.

    None for a name that carries no LSST version.
    """
    match = _LSST_NAME.fullmatch(name)
    return int(match[1]) * 100 + int(match[2]) if match else None


def canonical_fingerprint(schema: Schema) -> str:
    """Return the SHA-256 of a schema's Parsing Canonical Form (Avro specification).

    Schemas with equal fingerprints read the same bytes, however they are documented.
    """
    return str(fingerprint(to_parsing_canonical_form(schema), "SHA-256"))


def derived_id(schema: Schema) -> int:
    """Return an id computed from what a schema reads: the same everywhere and always."""
    return FIRST_DERIVED + int(canonical_fingerprint(schema)[:16], 16) % FIRST_DERIVED


class Schemas:
    """Schemas by id, looked up in folders in their order, then in the package's own.

    :raises SchemaError: one of ``folders`` is not there.
    """

    known_in_advance = True
    """Whether :meth:`ids` has those of all messages that can be decoded."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        for folder in folders:
            if folder.exists() and not folder.is_dir():
                raise SchemaError(
                    "not a folder", where=str(folder), todo="--schemas takes a folder"
                )
        self._folders: tuple[Path, ...] = (*folders, package_folder("schemas"))
        self._parsed: dict[int, Schema] = {}
        self.keep_in = next(iter(folders), None)
        """The folder for schemas that are not known yet."""

    def ids(self) -> list[int]:
        """Return the ids that are known, ascending."""
        return sorted(self._paths())

    def by_id(self, schema_id: int) -> Schema:
        """Return the parsed schema with this id.

        :raises SchemaError: no folder has it, or its file is not valid.
        """
        if schema_id not in self._parsed:
            path = self._paths().get(schema_id)
            if path is None:
                todo = "give a folder that has the schema with --schemas"
                raise SchemaError(f"unknown schema id {schema_id}", todo=todo)
            self._parsed[schema_id] = read_schema(path)
        return self._parsed[schema_id]

    async def look_up(self, schema_id: int) -> Schema:
        """Return the parsed schema with this id, as :meth:`by_id`, if need be from a registry."""
        return self.by_id(schema_id)

    async def ready(
        self,
        messages: Iterable[bytes | None],
        stop: asyncio.Event,
        notice: Notice = lambda text: None,
    ) -> bool:
        """Look up what decoding ``messages`` takes; False if ``stop`` came first."""
        return True

    async def id_for(
        self, schema: Schema, subject: str | None = None, stated: int | None = None
    ) -> int:
        """Return the id under which alerts written with ``schema`` are sent.

        Where its name has no version, that is an id under which it is known, or else
        :func:`derived_id`, if there is a folder to keep it in.

        :param subject: under which a registry has it; folders have none.
        :param stated: id of a schema whose name has no version, as its file states it.
        :raises SchemaError: there is no id, or the schema known under it reads other bytes.
        """
        name = schema["name"]
        schema_id = stated if version_id(name) is None else version_id(name)
        if schema_id is None:
            schema_id = next((each for each in self.ids() if self.has(each, schema)), None)
        if schema_id is None and self.keep_in is None:
            what = f"no schema id follows from the name {name}, which has no version"
            raise SchemaError(what, todo=f"{HOW_TO_KEEP}, under an id of its own")
        if schema_id is None:
            schema_id = derived_id(schema)
        if schema_id in self.ids() and not self.has(schema_id, schema):
            what = f"the schema {name} differs from the one known as id {schema_id}"
            raise SchemaError(what, todo=f"{HOW_TO_KEEP}, with another id: --schema-id ID")
        return schema_id

    def has(self, schema_id: int, schema: Schema) -> bool:
        """Return whether ``schema_id`` is known and reads the bytes that ``schema`` wrote."""
        try:
            known = self.by_id(schema_id)
        except SchemaError:
            return False
        return canonical_fingerprint(known) == canonical_fingerprint(schema)

    def _paths(self) -> dict[int, Path]:
        """Return the files by the ids of their schemas; the first folder that has one counts."""
        found: dict[int, Path] = {}
        for path in (path for folder in self._folders for path in sorted(folder.glob("*.avsc"))):
            schema_id = int(path.stem) if path.stem.isdecimal() else version_id(path.stem)
            if schema_id is not None:
                found.setdefault(schema_id, path)
        return found


def read_schema(path: Path) -> Schema:
    """Read and parse an Avro schema file.

    :raises SchemaError: the file cannot be read or is not valid.
    """
    try:
        return parsed(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SchemaError(f"the file cannot be read ({error.strerror})", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"not valid JSON: {error}", where=str(path)) from error
    except SchemaError as error:
        raise SchemaError(error.what, where=str(path)) from error


def parsed(schema: Any) -> Schema:
    """Check a schema and return it in the form that fastavro decodes with, its name a full one.

    Also refuses what Avro allows but no alert has, since a few bytes of a message could then stall
    or crash the decoding process: types that contain themselves, and what is beyond the
    bounds of :func:`memory_per_byte`.

    :raises SchemaError: it is not an Avro record's, or one of those.
    """
    require_shallow(schema)
    try:
        result = parse_schema(plain_schema(schema) if isinstance(schema, dict) else schema)
    except Exception as error:
        # fastavro has no type of its own for all that can be wrong; its texts have no bounds.
        cause = ascii(str(error))[1:-1][:200]
        raise SchemaError(f"not a valid Avro schema: {cause or type(error).__name__}") from error
    if not isinstance(result, dict) or result.get("type") != "record":
        raise SchemaError("not the schema of an Avro record")
    root = tree(result)
    for node in walk(root):
        _require_proper_names(node)
    memory_per_byte(root)
    _order(root)
    return result


def _require_proper_names(node: Type) -> None:
    """Check the names of a type and its fields, which may go to a terminal and into a header."""
    names = [field.name for field in node.fields]
    texts = [*names, *(node.schema["symbols"] if node.kind == "enum" else ())]
    if not all(isinstance(each, str) and each.isprintable() for each in (node.name, *texts)):
        raise SchemaError("a schema with a name that is not valid")
    if max(map(len, texts), default=0) > MAX_NAME:
        raise SchemaError(f"a schema with a name of more than {MAX_NAME} characters")
    if node.name in TYPE_NAMES:
        raise SchemaError(f"a schema with a type of its own named {node.name}")


def with_references(schema: Any, references: Mapping[str, Any]) -> Any:
    """Return a schema with the named types that it refers to inlined at their first use.

    :param references: those types' schemas by full name.
    :raises SchemaError: one is missing, or it is not valid.
    """

    class Parts(AbstractSchemaRepository):  # type: ignore[misc]
        def load(self, name: str) -> Any:
            if name and name not in references:
                raise SchemaRepositoryError(name)
            return deepcopy(references[name] if name else schema)

    try:
        return load_schema("", repo=Parts())
    except UnknownType as error:
        raise SchemaError(f"it refers to {error.name}, which is missing") from error
    except Exception as error:
        # fastavro raises no type of its own for what it cannot put together.
        raise SchemaError(f"not a valid Avro schema: {error}") from error


def _order(root: Type) -> None:
    """Sort a schema's attributes: fastavro's order differs from run to run."""
    for node in walk(root):
        for part in (node.schema, *(field.schema for field in node.fields)):
            if isinstance(part, dict):
                rest = {key: part.pop(key) for key in sorted(part) if not key.startswith("__")}
                part |= {key: rest[key] for key in _FIRST if key in rest} | rest


def plain_schema(schema: Schema) -> Schema:
    """Return a parsed schema without fastavro's marks, fit to be written."""
    return {key: value for key, value in schema.items() if not key.startswith("__")}


def write_schema(schema: Schema, schema_id: int, folder: Path) -> None:
    """Write ``schema`` into ``folder`` where :class:`Schemas` finds it under ``schema_id``.

    :raises DataError: the file cannot be written.
    """
    name = schema["name"]
    stem = name if version_id(name) == schema_id else str(schema_id)
    path = folder / f"{stem}.avsc"
    with writing(path, option="--schemas"):
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain_schema(schema), indent=1) + "\n", encoding="utf-8")
