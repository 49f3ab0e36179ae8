"""Alerts to files: Avro, Parquet, HTML, cutouts; each takes the same alerts as the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alertstream.alert.text import SHOWN
from alertstream.avro.schemas import Schemas
from alertstream.errors import Notice, UsageError
from alertstream.printing.writers.writer import Writer


def writer_for(
    path: Path, topic: str, fields: Sequence[str], schemas: Schemas, notice: Notice
) -> Writer:
    """Return what writes alerts to a file of the kind that its name ends with.

    :param topic: where they come from.
    :param fields: the columns of a table; empty is a summary.
    :raises UsageError: there is no such kind, or a library for it is not installed.
    """
    if path.suffix == ".avro":
        from alertstream.printing.writers.avro_file import AvroFile

        return AvroFile(path, schemas, notice)
    if path.suffix == ".parquet":
        from alertstream.printing.writers.parquet import ParquetFile

        return ParquetFile(path, fields or SHOWN, schemas)
    if path.suffix in (".html", ".htm"):
        from alertstream.printing.writers.html import HtmlPage

        return HtmlPage(path, topic, notice)
    raise UsageError(
        f"{path.name or path} is not a known kind of file",
        todo="end its name in .avro, .parquet or .html; for a table as text: --format csv > FILE",
    )
