"""Writes alerts to a Parquet table, with the types of the Avro schema."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alertstream.alert.alert import Alert
from alertstream.alert.light_curve import light_curve, light_curve_paths
from alertstream.alert.surveys import QUANTITIES, field_paths, survey_of, surveys
from alertstream.alert.text import SHOWN
from alertstream.avro.schema_tree import Schema, Type, find, tree
from alertstream.avro.schemas import Schemas
from alertstream.errors import UndecodableError
from alertstream.printing.lines import plain
from alertstream.printing.writers import Writer
from alertstream.reading.decoder import ReceivedAlert
from alertstream.reading.envelope import opened, schema_of
from alertstream.system.extras import extra
from alertstream.system.files import Part, writing

if TYPE_CHECKING:
    from alertstream.alert.pictures import Triplet

with extra("parquet", "Parquet files"):
    import pyarrow
    import pyarrow.parquet

MAX_ROWS, MAX_SIZE = 10_000, 64 * 1024 * 1024
"""Rows that are written together, as a row group, and bytes of messages that they come from."""
MAX_COLUMNS = 1_000
"""Columns that one field may become, if it is a record."""

_QUANTITIES = {
    "visit": pyarrow.int64(),
    "history": pyarrow.int64(),
    "band": pyarrow.string(),
    "designation": pyarrow.string(),
    "match": pyarrow.string(),
}
"""Types of quantities that are not measured; ids have those of each survey."""
_IDS = ("source_id", "object_id", "ss_object_id")
COLUMNS = (*SHOWN, *sorted(QUANTITIES.difference(SHOWN)))
"""All quantities, those first that a line of text shows."""
HISTORY = {
    "history_mjd": pyarrow.list_(pyarrow.float64()),
    "history_band": pyarrow.list_(pyarrow.string()),
    "history_flux": pyarrow.list_(pyarrow.float64()),
    "history_flux_error": pyarrow.list_(pyarrow.float64()),
    "history_kind": pyarrow.list_(pyarrow.string()),
}
"""Columns of earlier measurements: in each row, lists of the same length, in order of time."""
_PRIMITIVES = {
    "boolean": pyarrow.bool_(),
    "int": pyarrow.int32(),
    "long": pyarrow.int64(),
    "float": pyarrow.float32(),
    "double": pyarrow.float64(),
    "bytes": pyarrow.binary(),
    "string": pyarrow.string(),
    "enum": pyarrow.string(),
}
_UNITS = {"timestamp-millis": "ms", "timestamp-micros": "us"}


class ParquetFile(Writer):
    """Writes a row per alert, into a file that appears only when complete.

    Columns have the types of the first alert's schema, or of another known schema: 64-bit ids stay
    integers, and a column of nulls keeps its type.

    :param fields: dotted paths and quantities, a column each; empty is ``COLUMNS`` and
        ``HISTORY``.
    :param keep: keep an existing table, and write another one beside it.
    """

    def __init__(
        self, path: Path, fields: Sequence[str], schemas: Schemas, *, keep: bool = False
    ) -> None:
        self._path = path
        with writing(path):
            self._part = Part.first_free(path) if keep else Part(path)
        self._fields = fields or COLUMNS
        self._history = HISTORY if not fields else {}
        self._schemas = schemas
        self._writer: pyarrow.parquet.ParquetWriter | None = None
        self._columns: pyarrow.Schema | None = None
        self._rows: list[dict[str, Any]] = []
        self._size = 0

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        self._part.discard()

    def paths(self) -> set[str]:
        """Return the columns' fields."""
        history = light_curve_paths() | field_paths(["flux_error"]) if self._history else set()
        return field_paths(self._fields) | history

    def prepare(self, alert: ReceivedAlert, triplet: Triplet | None) -> Callable[[], None]:
        """Return a function that adds an alert's row, if its fields have the columns' types."""
        if self._columns is None:
            own = schema_of(
                opened(alert.message.value, alert.message.key, self._schemas)[0], self._schemas
            )
            columns = [(name, _column_type(name, own, self._schemas)) for name in self._fields]
            self._columns = pyarrow.schema([*columns, *self._history.items()])
        try:
            row = {name: alert.value(name) for name in self._fields}
            if math.isnan(row.get("history", 0)):
                row["history"] = None
            if row.get("match"):
                row["match"] = json.dumps(plain(row["match"]), ensure_ascii=False)
            if self._history:
                row |= _history_of(alert)
            self._batch([row])
        except (ArithmeticError, TypeError, ValueError, pyarrow.ArrowException) as error:
            raise UndecodableError("fields whose types differ from the table's columns") from error
        return partial(self._take, row, len(alert.message.value or b""))

    def _batch(self, rows: list[dict[str, Any]]) -> pyarrow.RecordBatch:
        return pyarrow.RecordBatch.from_pylist(rows, schema=self._columns)

    def _take(self, row: dict[str, Any], size: int) -> None:
        self._rows.append(row)
        self._size += size

    def flush(self) -> None:
        """Write the rows, if they are enough for a row group."""
        if len(self._rows) >= MAX_ROWS or self._size >= MAX_SIZE:
            self._write()

    def close(self) -> list[Path]:
        """Write the rest; return the file, which is complete now. Without alerts there is none."""
        if self._columns is None:
            return []
        writer = self._write()
        with writing(self._path):
            writer.close()
            self._writer = None
            return [self._part.finish()]

    def _write(self) -> pyarrow.parquet.ParquetWriter:
        with writing(self._path):
            if self._writer is None:
                self._writer = pyarrow.parquet.ParquetWriter(self._part.file, self._columns)
            try:
                batches = [self._batch(self._rows)]
            except pyarrow.ArrowException:
                # A value that fits alone, such as an empty list for a record, may not fit beside
                # others.
                batches = [self._batch([row]) for row in self._rows]
            self._writer.write_table(pyarrow.Table.from_batches(batches, self._columns))
        self.saved += len(self._rows)
        self._rows.clear()
        self._size = 0
        return self._writer


def _history_of(alert: Alert) -> dict[str, list[Any]]:
    """Return an alert's earlier measurements as ``HISTORY`` has them, fluxes in nJy."""
    measured = [each for each in light_curve(alert, alert.survey) if each.kind != "now"]
    rows = [(each.mjd, each.band, each.value, each.error or None, each.kind) for each in measured]
    return {name: [row[place] for row in rows] for place, name in enumerate(HISTORY)}


def _column_type(name: str, own: Schema, schemas: Schemas) -> Any:
    """Return the type of a field by a schema, or else by the newest that has it."""
    if name in QUANTITIES and name not in _IDS:
        return _QUANTITIES.get(name, pyarrow.float64())
    paths = [tuple(name.split("."))]
    if name in _IDS:
        known = (survey_of(own), *surveys())
        paths = [path for survey in known for path in survey.paths.get(name, ())]
    others = (schemas.by_id(each) for each in reversed(schemas.ids()))
    for schema in (own, *others):
        root = tree(schema)
        for match in chain.from_iterable(find(root, path) for path in paths):
            if _columns_of(match.type, {}) > MAX_COLUMNS:
                raise UndecodableError(f"the field {name} has more than {MAX_COLUMNS} columns")
            found = _arrow_type(match.type)
            for _ in range(match.arrays):
                found = pyarrow.list_(found)
            return found
    raise UndecodableError(f"no schema has the field {name}")


def _columns_of(node: Type, known: dict[Type, int]) -> int:
    if node not in known:
        known[node] = sum(_columns_of(each, known) for each in node.inside) or 1
    return known[node]


def _arrow_type(node: Type) -> Any:
    if node.kind == "union":
        rest = [each for each in node.inside if each.kind != "null"]
        return _arrow_type(rest[0]) if len(rest) == 1 else pyarrow.string()
    logical = node.schema.get("logicalType", "") if isinstance(node.schema, dict) else ""
    if logical in _UNITS:
        return pyarrow.timestamp(_UNITS[logical], tz="UTC")
    if node.kind == "array":
        return pyarrow.list_(_arrow_type(node.inside[0]))
    if node.kind == "map":
        return pyarrow.map_(pyarrow.string(), _arrow_type(node.inside[0]))
    if node.kind == "fixed":
        return pyarrow.binary(node.schema["size"])
    if node.kind == "record":
        return pyarrow.struct([(each.name, _arrow_type(each.type)) for each in node.fields])
    return _PRIMITIVES.get(node.kind, pyarrow.null())
