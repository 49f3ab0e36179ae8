"""Schemas and their ids: from folders of ``.avsc`` files, the package's own among them.

In a folder, ``lsst.v10_0.alert.avsc`` holds the schema with id 1000 (LSST's rule,
MAJOR * 100 + MINOR), ``4242.avsc`` the one with id 4242.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastavro.schema import (
    SchemaParseException,
    UnknownType,
    fingerprint,
    parse_schema,
    to_parsing_canonical_form,
)

from alertstream.errors import DataError, SchemaError

Schema = dict[str, Any]

_FIRST = ("type", "name", "namespace", "doc")
_LSST_NAME = re.compile(r"lsst\.v(\d+)_(\d+)\.alert")


def package_folder(name: str) -> Path:
    """Return the package's folder ``name`` (``data`` or ``schemas``), installed or in a clone."""
    installed = Path(str(files("alertstream"))) / "share" / name
    return installed if installed.is_dir() else Path(__file__).parents[2] / name


def full_name(schema: Schema) -> str:
    """Return a schema's name with its namespace."""
    name, namespace = schema["name"], schema.get("namespace")
    return name if "." in name or not namespace else f"{namespace}.{name}"


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


class Schemas:
    """Schemas by id, looked up in folders in their order, then in the package's own.

    :raises SchemaError: one of ``folders`` is not there.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        for folder in folders:
            if folder.exists() and not folder.is_dir():
                raise SchemaError("no folder", where=str(folder), todo="--schemas takes a folder")
        self._folders = (*folders, package_folder("schemas"))
        self._parsed: dict[int, Schema] = {}

    def ids(self) -> list[int]:
        """Return the ids that are known, ascending."""
        return sorted({schema_id for schema_id, _ in self._files()})

    def by_id(self, schema_id: int) -> Schema:
        """Return the parsed schema with this id.

        :raises SchemaError: no folder has it, or its file is no Avro schema.
        """
        if schema_id not in self._parsed:
            self._parsed[schema_id] = read_schema(self._file(schema_id))
        return self._parsed[schema_id]

    def id_for(self, schema: Schema) -> int:
        """Return the id under which alerts written with ``schema`` are sent.

        :raises SchemaError: the name carries no version, or the schema that is known
            under that version reads other bytes.
        """
        name = full_name(schema)
        schema_id = version_id(name)
        if schema_id is None:
            raise SchemaError(
                f"the schema {name} carries no version", todo="give an id with --schema-id"
            )
        if schema_id in self.ids() and not self.has(schema_id, schema):
            raise SchemaError(
                f"the schema differs from the {name} known as id {schema_id}",
                todo="give another id with --schema-id",
            )
        return schema_id

    def has(self, schema_id: int, schema: Schema) -> bool:
        """Return whether ``schema_id`` is known and reads the bytes that ``schema`` wrote."""
        if schema_id not in self.ids():
            return False
        known = self.by_id(schema_id)
        return canonical_fingerprint(known) == canonical_fingerprint(schema)

    def _file(self, schema_id: int) -> Path:
        for known_id, path in self._files():
            if known_id == schema_id:
                return path
        raise SchemaError(
            f"unknown schema id {schema_id}",
            todo="give a folder that has the schema with --schemas",
        )

    def _files(self) -> Iterator[tuple[int, Path]]:
        for folder in self._folders:
            for path in sorted(folder.glob("*.avsc")):
                schema_id = int(path.stem) if path.stem.isdecimal() else version_id(path.stem)
                if schema_id is not None:
                    yield schema_id, path


def read_schema(path: Path) -> Schema:
    """Read and parse an Avro schema file.

    :raises SchemaError: the file cannot be read or is no Avro schema.
    """
    try:
        return parsed(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SchemaError(f"no file to read: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise SchemaError(f"no JSON: {error}", where=str(path)) from error
    except SchemaError as error:
        raise SchemaError(error.what, where=str(path)) from error


def parsed(schema: Any) -> Schema:
    """Check a schema and return it in the form that fastavro decodes with.

    :raises SchemaError: it is no Avro record schema.
    """
    try:
        result = parse_schema(schema)
    except (SchemaParseException, UnknownType, KeyError, TypeError, AttributeError) as error:
        raise SchemaError(f"no Avro schema: {error}") from error
    if not isinstance(result, dict) or result.get("type") != "record":
        raise SchemaError("no schema of an Avro record")
    _order(result)
    return result


def _order(node: Any) -> None:
    """Put a schema's attributes in one order: fastavro leaves them in another at every run."""
    if isinstance(node, list):
        for branch in node:
            _order(branch)
    elif isinstance(node, dict):
        rest = {key: node.pop(key) for key in sorted(node) if not key.startswith("__")}
        node |= {key: rest[key] for key in _FIRST if key in rest} | rest
        for key in ("type", "items", "values", "fields"):
            _order(node.get(key))


def plain_schema(schema: Schema) -> Schema:
    """Return a parsed schema as it may be written: without fastavro's marks on it."""
    return {key: value for key, value in schema.items() if not key.startswith("__")}


def write_schema(schema: Schema, schema_id: int, folder: Path) -> Path:
    """Write ``schema`` into ``folder`` where :class:`Schemas` finds it under ``schema_id``.

    :raises DataError: the file cannot be written.
    """
    name = full_name(schema)
    stem = name if version_id(name) == schema_id else str(schema_id)
    path = folder / f"{stem}.avsc"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain_schema(schema), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"no file to write: {error.strerror}", where=str(path)) from error
    return path
