"""Chosen fields of alerts to a Parquet file, with the types that the Avro schema gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from alertstream.alert.alert import Alert
from alertstream.alert.surveys import QUANTITIES, SURVEYS
from alertstream.avro.message_decoder import writer_schema
from alertstream.avro.schema_tree import Schema, Type, find, tree
from alertstream.avro.schemas import Schemas
from alertstream.errors import SchemaError, UndecodableError, UsageError
from alertstream.kafka.messages import Message
from alertstream.system.files import not_written, part_of

if TYPE_CHECKING:
    from alertstream.alert.pictures import Triplet

ROWS = 10_000
"""Rows that are written together, as a row group."""
ROOM = 64 * 1024 * 1024
"""Bytes of messages whose rows are written together."""

_INTEGERS = ("source_id", "visit", "history")
_AS_STATED = ("object_id",)
"""Quantities of the type that each survey gives them."""
_PRIMITIVES = {
    "boolean": "bool_",
    "int": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "bytes": "binary",
    "string": "string",
    "enum": "string",
}
_UNITS = {"timestamp-millis": "ms", "timestamp-micros": "us"}


class ParquetTable:
    """Writes a row an alert, into a file that is there when it is whole, and not before.

    The columns have the types that the first alert's schema gives the fields, or another schema
    that is known: 64-bit ids stay integers, and a column that is null throughout keeps its type.

    :param fields: dotted paths and quantities, a column each.
    :raises UsageError: pyarrow is not installed.
    """

    durable = False
    draws = False
    keeps_undecodable = False

    def __init__(self, path: Path, fields: Sequence[str], schemas: Schemas) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise UsageError(
                "Parquet files need pyarrow", todo="pip install 'alertstream[parquet]'"
            ) from error
        self._arrow = pyarrow
        self._path = path
        self._part = part_of(path)
        self._fields = fields
        self._schemas = schemas
        self._writer: Any = None
        self._columns: Any = None
        self._rows: list[dict[str, Any]] = []
        self._size = 0
        self.saved = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        self._part.unlink(missing_ok=True)

    def prepare(
        self, message: Message, alert: Alert, picture: Triplet | None = None
    ) -> Callable[[], None]:
        """Return what takes an alert's row.

        :raises UndecodableError: its fields have other types than the columns.
        """
        if self._columns is None:
            self._columns = self._arrow.schema(self._types(message))
        try:
            row = {name: alert.value(name) for name in self._fields}
            self._arrow.RecordBatch.from_pylist([row], schema=self._columns)
        except (ArithmeticError, TypeError, ValueError, self._arrow.ArrowException) as error:
            raise UndecodableError("fields of other types than the table's columns") from error

        def take() -> None:
            self._rows.append(row)
            self._size += len(message.value or b"")

        return take

    def add_undecodable(self, message: Message) -> None:
        """Leave out what is no alert: it has no row."""

    def flush(self) -> None:
        """Write what was taken, if it is enough for a row group.

        :raises DataError: it cannot be written.
        """
        if len(self._rows) >= ROWS or self._size >= ROOM:
            self._write()

    def close(self) -> list[Path]:
        """Write the rest; return the file, which is whole now. Without alerts there is none.

        :raises DataError: it cannot be written.
        """
        if self._columns is None:
            return []
        self._write()
        try:
            self._writer.close()
            self._writer = None
            self._part.replace(self._path)
        except OSError as error:
            raise not_written(self._path, error) from error
        return [self._path]

    def _write(self) -> None:
        try:
            if self._writer is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._writer = self._arrow.parquet.ParquetWriter(self._part, self._columns)
            table = self._arrow.Table.from_pylist(self._rows, schema=self._columns)
            self._writer.write_table(table)
            self.saved += table.num_rows
        except OSError as error:
            raise not_written(self._path, error) from error
        self._rows.clear()
        self._size = 0

    def _types(self, message: Message) -> list[tuple[str, Any]]:
        own = writer_schema(message.value or b"", self._schemas)
        return [(name, self._type(name, own)) for name in self._fields]

    def _type(self, name: str, own: Schema) -> Any:
        if name in QUANTITIES and name not in _AS_STATED:
            if name in _INTEGERS:
                return self._arrow.int64()
            return self._arrow.string() if name == "band" else self._arrow.float64()
        paths = [tuple(name.split("."))]
        if name in QUANTITIES:
            paths = [path for survey in SURVEYS for path in survey.paths.get(name, ())]
        others = (self._schemas.by_id(each) for each in reversed(self._schemas.ids()))
        for schema in (own, *others):
            root = tree(schema)
            for match in chain.from_iterable(find(root, path) for path in paths):
                found = self._arrow_type(match.type)
                for _ in range(match.arrays):
                    found = self._arrow.list_(found)
                return found
        raise SchemaError(f"no schema has the field {name}", todo="check --fields")

    def _arrow_type(self, node: Type) -> Any:
        arrow = self._arrow
        if node.kind == "union":
            rest = [each for each in node.inside if each.kind != "null"]
            return self._arrow_type(rest[0]) if len(rest) == 1 else arrow.string()
        logical = node.schema.get("logicalType", "") if isinstance(node.schema, dict) else ""
        if logical in _UNITS:
            return arrow.timestamp(_UNITS[logical], tz="UTC")
        if node.kind in _PRIMITIVES:
            return getattr(arrow, _PRIMITIVES[node.kind])()
        if node.kind == "array":
            return arrow.list_(self._arrow_type(node.inside[0]))
        if node.kind == "map":
            return arrow.map_(arrow.string(), self._arrow_type(node.inside[0]))
        if node.kind == "fixed":
            return arrow.binary(node.schema["size"])
        if node.kind == "record":
            return arrow.struct([(each.name, self._arrow_type(each.type)) for each in node.fields])
        return arrow.null()
