"""The commands below ``alertstream schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alertstream.cli import options
from alertstream.cli.completion import complete_versions
from alertstream.cli.option_groups import command, group
from alertstream.cli.terminal.output import DONE, FAILED, write_line
from alertstream.errors import UsageError

if TYPE_CHECKING:
    from alertstream.avro.registry import RegistrySchemas
    from alertstream.avro.schemas import Schema, Schemas

schema_app = typer.Typer(rich_markup_mode=None, help="Show the schemas that are known.")

SchemaName = Annotated[
    str,
    typer.Argument(metavar="ID|VERSION|FILE", help="Which one.", autocompletion=complete_versions),
]


def schema_id_of_version(text: str) -> int:
    """Return the id that an id (1000) or a version (10.0) means."""
    from alertstream.avro.schemas import version_id

    found = version_id(f"lsst.v{text.replace('.', '_')}.alert")
    if found is not None:
        return found
    if text.isdecimal():
        return int(text)
    raise UsageError(f"{text} is no schema version", todo="give one as in 10.0, or an id as 1000")


def _schema(text: str, schemas: Schemas) -> Schema:
    """Return the schema that an id, a version, or a file of a schema or of alerts means."""
    from alertstream.avro.container import ContainerFile
    from alertstream.avro.registry import RegistrySchemas
    from alertstream.avro.schemas import read_schema

    path = Path(text)
    if path.suffix == ".avsc":
        return read_schema(path)
    if path.is_file() or path.suffix == ".avro":
        with ContainerFile(path) as container:
            return container.schema
    if isinstance(schemas, RegistrySchemas) and not text.isdecimal():
        raise UsageError(
            f"a registry knows no version {text}",
            todo="give an id: alertstream schema list --registry URL shows them",
        )
    return schemas.by_id(schema_id_of_version(text))


@command(schema_app, "list")
def schema_list(*, schemas: Schemas = group(options.schemas)) -> int:
    """List the ids and names of the schemas that are known, or the subjects of a registry.

    Example: alertstream schema list
    """
    from alertstream.avro.registry import RegistrySchemas
    from alertstream.avro.schemas import full_name

    if isinstance(schemas, RegistrySchemas):
        for each in schemas.registered():
            write_line(f"{each.schema_id:>6}  {each.subject}  version {each.version}")
        return DONE
    for schema_id in schemas.ids():
        write_line(f"{schema_id:>6}  {full_name(schemas.by_id(schema_id))}")
    return DONE


@command(schema_app, "show")
def schema_show(*, schema: SchemaName, schemas: Schemas = group(options.schemas)) -> int:
    """Show a schema as JSON: a known one, or that of a file.

    Example: alertstream schema show 10.0
    """
    from alertstream.avro.schemas import plain_schema

    write_line(json.dumps(plain_schema(_schema(schema, schemas)), indent=2))
    return DONE


@command(schema_app, "register")
def schema_register(
    *,
    registry: RegistrySchemas = group(options.registry_schemas),
    schema: Annotated[
        str,
        typer.Argument(
            metavar="VERSION|FILE",
            help="An LSST version, or a file with one.",
            autocompletion=complete_versions,
        ),
    ],
    subject: Annotated[
        str | None, typer.Option(metavar="NAME", help="Under which; default: the schema's name.")
    ] = None,
    schemas: Schemas = group(options.folders),
) -> int:
    """Register a schema, if the registry does not have it yet, and show its id.

    Example: alertstream schema register http://localhost:8081/apis/ccompat/v7 10.0
    """
    from alertstream.avro.schemas import full_name

    found = _schema(schema, schemas)
    name = subject or full_name(found)
    write_line(f"{registry.id_for(found, name):>6}  {name}")
    return DONE


@command(schema_app, "diff")
def schema_diff(*, a: SchemaName, b: SchemaName, schemas: Schemas = group(options.schemas)) -> int:
    """Show what is different in B: fields added and removed, other types and defaults.

    Example: alertstream schema diff 10.0 11.0
    """
    from alertstream.avro.evolution import differences

    for line in differences(_schema(a, schemas), _schema(b, schemas)):
        write_line(line)
    return DONE


@command(schema_app, "check")
def schema_check(
    *,
    new: SchemaName,
    old: Annotated[
        list[str],
        typer.Argument(
            metavar="OLD",
            help="The schemas before, all of them.",
            autocompletion=complete_versions,
        ),
    ],
    schemas: Schemas = group(options.schemas),
) -> int:
    """Tell whether who has an OLD schema can read what is written with NEW (FORWARD_TRANSITIVE).

    Example: alertstream schema check 10.0 9.0
    """
    from alertstream.avro.evolution import obstacles

    written = _schema(new, schemas)
    bad = 0
    for each in old:
        found = obstacles(written, _schema(each, schemas))
        bad += bool(found)
        write_line(f"{each}: {'cannot read' if found else 'reads'} what is written with {new}")
        for line in found:
            write_line(f"  {line}")
    return FAILED if bad else DONE
