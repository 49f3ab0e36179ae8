"""Official samples and schemas, from ``lsst-alert-packet``, and alerts made of them."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
from lsst.alert.packet import Schema, get_schema_root

from alertstream.alert.surveys import field_paths
from alertstream.avro.container.file import ContainerFile

ROOT = Path(str(get_schema_root()))
VERSIONS = sorted(
    (".".join(path.parts[-3:-1]) for path in ROOT.glob("*/*/lsst.v*.alert.avsc")),
    key=lambda version: [int(part) for part in version.split(".")],
)

FITS = b"SIMPLE  =" + bytes(2880 - 9)
WANTED = field_paths(["visit", "snr", "flux"])
"""The fields that tests of decoding in part ask for."""


def schema_id(version: str) -> int:
    major, minor = version.split(".")
    return int(major) * 100 + int(minor)


@cache
def official_schema(version: str) -> dict[str, Any]:
    return Schema.from_file(str(_folder(version) / f"{_stem(version)}.alert.avsc")).definition


def _folder(version: str) -> Path:
    return ROOT.joinpath(*version.split("."))


def _stem(version: str) -> str:
    return f"lsst.v{version.replace('.', '_')}"


def sample_file(version: str) -> Path:
    return _folder(version) / "sample_data" / "fakeAlert.avro"


def sample_alert(version: str) -> dict[str, Any]:
    with sample_file(version).open("rb") as file:
        return next(iter(fastavro.reader(file)))


def with_images(version: str, **images: bytes | None) -> dict[str, Any]:
    """A sample with cutouts of any size but none, or with these ones."""
    blank = {"cutoutDifference": FITS, "cutoutScience": FITS * 2, "cutoutTemplate": FITS}
    return sample_alert(version) | blank | images


def body_of(alert: dict[str, Any], version: str) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, official_schema(version), alert)
    return stream.getvalue()


def write_container(path: Path, schema: dict[str, Any], alerts: list[Any], **more: Any) -> Path:
    with path.open("wb") as file:
        fastavro.writer(file, schema, alerts, **more)
    return path


def bodies_in(path: Path) -> list[bytes]:
    """The encoded alerts of a file: once decoded, NaN would not equal itself."""
    with ContainerFile(path) as container:
        return list(container)
