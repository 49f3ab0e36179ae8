"""Options about schemas: where to look them up, and which fields to leave out."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alertstream.cli.options.shared import Options, option_group, password_in

if TYPE_CHECKING:
    from alertstream.avro.schemas import Schemas

_schemas = option_group("Schemas")
_output = option_group("Output")


@dataclass(frozen=True, kw_only=True)
class FolderOptions(Options):
    """Where schemas are looked up without a registry."""

    schemas: list[Path] | None = _schemas(
        None,
        "Folder with .avsc files, searched before the package's own; send keeps new "
        "schemas in the first; repeatable.",
        "DIR",
    )

    survey: list[Path] | None = _schemas(
        None,
        "Table of a further survey: where its alerts have what all alerts have; repeatable.",
        "FILE.toml",
    )

    def known_schemas(self) -> "Schemas":
        """Return where schemas are looked up; make the surveys known that are given.

        :raises UsageError: a survey's table is not valid.
        """
        from alertstream.avro.schemas import Schemas

        if self.survey:
            from alertstream.alert.surveys import add_survey

            for each in self.survey:
                add_survey(each)
        return Schemas(self.schemas or ())


@dataclass(frozen=True, kw_only=True)
class SchemaOptions(FolderOptions):
    """Where schemas are looked up: in a registry, if one is given, and in folders."""

    registry: str | None = _schemas(None, "Schema registry to look up ids in.", "URL")
    registry_username: str | None = _schemas(None, "User name for the registry.", "NAME")
    registry_password_file: Path | None = _schemas(
        None, "File with its password; or set ALERTSTREAM_REGISTRY_PASSWORD.", "FILE"
    )
    registry_ca_file: Path | None = _schemas(
        None, "Certificates to trust for it, and no others, PEM.", "FILE"
    )

    def known_schemas(self) -> "Schemas":
        """Return where schemas are looked up.

        :raises UsageError: an option is invalid, or the password file cannot be read.
        """
        in_folders = super().known_schemas()
        if self.registry is None:
            return in_folders
        from platformdirs import user_cache_path

        from alertstream.avro.registry import RegistrySchemas
        from alertstream.avro.registry_client import RegistryClient

        password = os.environ.get("ALERTSTREAM_REGISTRY_PASSWORD")
        if self.registry_username and self.registry_password_file:
            password = password_in(self.registry_password_file, "--registry-password-file")
        login = (self.registry_username, password, self.registry_ca_file)
        client = RegistryClient(self.registry, *login)
        cache = user_cache_path("alertstream") / "registry"
        return RegistrySchemas(client, self.schemas or (), cache)


@dataclass(frozen=True, kw_only=True)
class DecodingOptions(SchemaOptions):
    """Where schemas are looked up, if not one is given for all messages."""

    schema: Path | None = _schemas(
        None,
        "The one schema of all messages, with or without a header: .avsc, or a file of alerts.",
        "FILE",
    )

    def known_schemas(self) -> "Schemas":
        """Return where schemas are looked up.

        :raises UsageError: an option is invalid, or the password file cannot be read.
        :raises SchemaError: the schema that is given cannot be read, or is not valid.
        """
        known = super().known_schemas()
        if self.schema is None:
            return known
        from alertstream.reading.envelope import SingleSchema, schema_from

        return SingleSchema(schema_from(self.schema))


@dataclass(frozen=True, kw_only=True)
class ThinOptions(DecodingOptions):
    """Which fields alerts are written without."""

    without: str | None = _output(
        None,
        "Write null for these top-level fields, in the same schema: cutouts, or names "
        "such as prvDiaForcedSources.",
        "FIELD[,FIELD...]",
    )

    def fields_without(self, schemas: "Schemas") -> frozenset[str]:
        """Return the fields to null, of all surveys.

        :raises UsageError: no schema has one of them as a field that can be null.
        """
        from alertstream.alert.fields import fields_without

        names = self.without.split(",") if self.without is not None else ()
        return fields_without([name.strip() for name in names], schemas) if names else frozenset()
