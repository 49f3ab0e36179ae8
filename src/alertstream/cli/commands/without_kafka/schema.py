"""The commands below ``alertstream schema``."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from alertstream.cli.options.completion import complete_versions
from alertstream.cli.options.schemas import SchemaOptions
from alertstream.cli.options.shared import option_group
from alertstream.cli.terminal.output import DONE, FAILED, write_line
from alertstream.errors import UsageError

if TYPE_CHECKING:
    from alertstream.avro.schemas import Schema, Schemas


T = TypeVar("T")

_options = option_group("Options")


def schema_argument() -> Any:
    """Return an argument that names a schema."""
    names = "ID|VERSION|FILE"
    return typer.Argument(metavar=names, help="The schema.", autocompletion=complete_versions)


@dataclass(frozen=True, kw_only=True)
class List(SchemaOptions):
    """List the known schemas and their surveys, or the subjects of a registry.

    Example: alertstream schema list
    """

    def run(self) -> int:
        """Write a line for each."""
        from alertstream.alert.surveys import survey_of
        from alertstream.avro.registry import RegistrySchemas

        schemas = self.known_schemas()
        if isinstance(schemas, RegistrySchemas):
            for each in _result_of(schemas.registered()):
                write_line(f"{each.schema_id:>6}  {each.subject}  version {each.version}")
        else:
            for schema_id in schemas.ids():
                schema = schemas.by_id(schema_id)
                write_line(f"{schema_id:>6}  {schema['name']}  {survey_of(schema).name}")
        return DONE


@dataclass(frozen=True, kw_only=True)
class Show(SchemaOptions):
    """Show a schema as JSON: a known one, or that of a file.

    Example: alertstream schema show 10.0
    """

    schema: str = schema_argument()

    def run(self) -> int:
        """Write the schema."""
        from alertstream.avro.schemas import plain_schema

        found = schema_named(self.schema, self.known_schemas())
        write_line(json.dumps(plain_schema(found), indent=2))
        return DONE


@dataclass(frozen=True, kw_only=True)
class Register(SchemaOptions):
    """Register a schema, unless the registry has it, and show its id.

    Example: alertstream schema register http://localhost:8081/apis/ccompat/v7 10.0
    """

    registry: str = typer.Argument(
        metavar="URL", help="The registry, as in https://HOST/schema-registry."
    )
    schema: str = typer.Argument(
        metavar="VERSION|FILE",
        help="An LSST version, or a file with a schema.",
        autocompletion=complete_versions,
    )
    subject: str | None = _options(None, "Its subject; default: the schema's name.", "NAME")

    def run(self) -> int:
        """Register the schema and write its id."""
        from alertstream.avro.registry import RegistrySchemas
        from alertstream.avro.schemas import Schemas

        found = schema_named(self.schema, Schemas(self.schemas or ()))
        name = self.subject or found["name"]
        registry = self.known_schemas()
        assert isinstance(registry, RegistrySchemas)
        schema_id = _result_of(registry.register(found, name))
        write_line(f"{schema_id:>6}  {name}")
        return DONE


@dataclass(frozen=True, kw_only=True)
class Diff(SchemaOptions):
    """Show how schema B differs: fields, types and defaults.

    Example: alertstream schema diff 10.0 11.0
    """

    a: str = schema_argument()
    b: str = schema_argument()

    def run(self) -> int:
        """Write a line for each difference."""
        from alertstream.avro.evolution import differences

        schemas = self.known_schemas()
        for line in differences(schema_named(self.a, schemas), schema_named(self.b, schemas)):
            write_line(line)
        return DONE


@dataclass(frozen=True, kw_only=True)
class Check(SchemaOptions):
    """Check that readers with an OLD schema can read a NEW one's alerts.

    This is what registries call FORWARD_TRANSITIVE.

    Example: alertstream schema check 10.0 9.0
    """

    new: str = schema_argument()
    old: list[str] = typer.Argument(
        metavar="OLD", help="All earlier schemas.", autocompletion=complete_versions
    )

    def run(self) -> int:
        """Write the obstacles; return 1 if there are any."""
        from alertstream.avro.evolution import obstacles

        schemas = self.known_schemas()
        written = schema_named(self.new, schemas)
        bad = 0
        for each in self.old:
            found = obstacles(written, schema_named(each, schemas))
            bad += bool(found)
            write_line(f"{each}: {'cannot' if found else 'can'} read data written with {self.new}")
            for line in found:
                write_line(f"  {line}")
        return FAILED if bad else DONE


def schema_named(text: str, schemas: Schemas) -> Schema:
    """Return the schema named by an id, a version, or a file of a schema or of alerts."""
    from alertstream.avro.container.file import ContainerFile
    from alertstream.avro.registry import RegistrySchemas
    from alertstream.avro.schemas import read_schema
    from alertstream.reading.envelope import opened, schema_of

    path = Path(text)
    if path.suffix == ".avsc":
        return read_schema(path)
    if path.is_file() or path.name.endswith((".avro", ".gz")):
        with ContainerFile(path) as container:
            if not container.holds_messages:
                return container.schema
            key, *_ = opened(next(iter(container), b""))
        if isinstance(key, bytes):
            return schema_of(key, schemas)
        return _result_of(schemas.look_up(key))
    if isinstance(schemas, RegistrySchemas) and not text.isdecimal():
        raise UsageError(
            f"a registry does not know version {text}",
            todo="give an id: alertstream schema list --registry URL shows them",
        )
    return _result_of(schemas.look_up(schema_id_of_version(text)))


def _result_of(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    return asyncio.run(work)


def schema_id_of_version(text: str) -> int:
    """Return the id given as an id (1000) or a version (10.0).

    :raises UsageError: it is neither.
    """
    from alertstream.avro.schemas import version_id

    found = version_id(f"lsst.v{text.replace('.', '_')}.alert")
    if found is not None:
        return found
    if text.isdecimal():
        return int(text)
    raise UsageError(
        f"{text} is not a valid schema version", todo="give one as in 10.0, or an id as in 1000"
    )
