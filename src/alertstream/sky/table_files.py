"""Files of tables, recognised by their first bytes; only the columns wanted are read."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from alertstream.errors import UsageError
from alertstream.system.extras import extra

with extra("sky", "watchlists"):
    import numpy as np
    import pyarrow
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.parquet

MAX_TEXT = 512 * 1024 * 1024
"""Bytes of a VOTable, decompressed, which is read into memory."""
_HEAD = 64 * 1024
_COMMENTS = re.compile(rb"^(?:\xef\xbb\xbf)?#[^\r\n]*(?:\r\n?|\n|\Z)", re.MULTILINE)
_HAS_NUMBER = re.compile(r"(?:^|[,;\t|])[\s\"]*[-+.\d][-+.:\d\s]*\"?\s*(?:$|[,;\t|])")
"""Matches a row of values, and no row of names."""


@dataclass(frozen=True)
class Table:
    """A table of a file.

    :param columns: their names.
    :param unit: returns a column's unit, as far as the file says it.
    :param read: returns some columns, as pyarrow arrays; the one of the second name is text where
        a file has no types.
    """

    columns: list[str]
    unit: Callable[[str], str]
    read: Callable[[Sequence[str], str], list[Any]]


@contextmanager
def open_tables(path: Path) -> Iterator[Iterator[Table]]:
    """Give the tables of a file, as long as the context lasts.

    :raises Exception: it is not a table, or cannot be read.
    """
    with io.BufferedReader(io.FileIO(path), _HEAD) as raw:
        is_gzip = raw.peek(2)[:2] == b"\x1f\x8b"
        yield _tables(gzip.GzipFile(fileobj=raw) if is_gzip else raw)


def _tables(file: Any) -> Iterator[Table]:
    head = file.peek(_HEAD)[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"SIMPLE  ="):
        return _fits(file)
    if head.startswith(b"PAR1"):
        return _parquet(file)
    if head.startswith(b"<"):
        return _votable(file)
    if head.startswith(b"# %ECSV"):
        return _ecsv(file)
    return _csv(file)


def _fits(file: BinaryIO) -> Iterator[Table]:
    from astropy.io import fits

    with fits.open(file) as hdus:
        for hdu in hdus:
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
                units = {each.name: each.unit or "" for each in hdu.columns}
                yield Table([*units], units.__getitem__, partial(_of_fits, hdu.data))


def _of_fits(data: Any, names: Sequence[str], text: str) -> list[Any]:
    raw = data.view(np.ndarray)
    # Text as bytes: as numpy's text it would be four times as large.
    values = [raw[each] if raw[each].dtype.kind == "S" else data[each] for each in names]
    return [_arrow(np.asarray(each)) for each in values]


def _arrow(values: Any) -> Any:
    mask = np.ma.getmaskarray(values) if np.ma.isMaskedArray(values) else None
    plain = np.asarray(np.ma.getdata(values))
    if plain.ndim != 1:
        raise ValueError("a column has lists for values")
    native = plain.astype(plain.dtype.newbyteorder("="), copy=False)
    found = pyarrow.array(native, mask=mask)
    return found.cast(pyarrow.string()) if plain.dtype.kind == "S" else found


def _parquet(file: BinaryIO) -> Iterator[Table]:
    found = pyarrow.parquet.ParquetFile(file)

    columns = found.schema_arrow.names

    def read(names: Sequence[str], text: str) -> list[Any]:
        # astropy also writes masked values, with a second column that marks them.
        masks = {each: f"{each}.mask" for each in names if f"{each}.mask" in columns}
        table = found.read(columns=[*names, *masks.values()]).combine_chunks()
        return [
            pc.if_else(table[masks[each]], None, table[each]).combine_chunks()
            if each in masks
            else table[each].combine_chunks()
            for each in names
        ]

    yield Table(columns, lambda name: "", read)


def _content(file: BinaryIO) -> bytes:
    content = file.read(MAX_TEXT + 1)
    if len(content) > MAX_TEXT:
        raise UsageError("the table is too large", todo="convert it to Parquet")
    return content


def _votable(file: BinaryIO) -> Iterator[Table]:
    """Yield the tables of a VOTable, which may be anybody's: it may name no other files."""
    from astropy.io import votable

    content = _content(file)
    if re.search(rb"\0|<!ENTITY|<(?:[\w.-]+:)?STREAM\b[^>]*\shref\s*=", content):
        what = "the VOTable has entities, or its data elsewhere"
        raise UsageError(what, todo="save it as UTF-8, with its data in it")
    for each in votable.parse(io.BytesIO(content), verify="ignore").iter_tables():
        units = {field.ID: str(field.unit or "") for field in each.fields}
        yield Table([*units], units.__getitem__, partial(_of_votable, each.array))


def _of_votable(data: Any, names: Sequence[str], text: str) -> list[Any]:
    return [_arrow(data[each]) for each in names]


def _csv(file: Any) -> Iterator[Table]:
    """Yield the table of a CSV file; its header may be a comment, or have VizieR's units below."""
    head = file.peek(_HEAD)[:_HEAD].decode("utf-8-sig", "replace")
    if "\0" in head or not head.strip():
        todo = "give one with names of columns"
        raise UsageError("the file is not a table", todo=todo)
    lines = head.splitlines()
    begin = next((n for n, each in enumerate(lines) if each.strip() and each[0] != "#"), len(lines))
    header, after = [*lines, ""][begin], begin + 1
    # If rows follow at once, the comment before them has the names.
    if begin and lines[begin - 1][:1] == "#" and (not header or _HAS_NUMBER.search(header)):
        header, after = lines[begin - 1].lstrip("# "), begin
    delimiter = max(",;\t|", key=header.count)
    units: dict[str, str] = {}
    names, below = (
        [part.strip() for part in next(csv.reader([each], delimiter=delimiter), [])]
        for each in (header, [*lines, "", ""][after])
    )
    if re.fullmatch(r"[-\s,;|]*-[-\s,;|]*", "".join(lines[after + 1 : after + 2])):
        units, after = dict(zip(names, below, strict=False)), after + 2

    skipped = sum(each[:1] != "#" for each in lines[:after])
    yield _text(_WithoutComments(file), names, units, delimiter, skipped)


def _ecsv(file: Any) -> Iterator[Table]:
    """Yield the table of an ECSV file, whose comments say more of its columns than CSV can."""
    from astropy.table import meta

    said = []
    while (line := file.readline()).startswith(b"#"):
        said.append(line.decode()[2:])
    header = meta.get_header_from_yaml(said[1:])
    units = {each["name"]: each.get("unit", "") for each in header["datatype"]}
    yield _text(file, [*units], units, header.get("delimiter", " "), 0)


def _text(
    file: Any, names: list[str], units: dict[str, str], delimiter: str, skipped: int
) -> Table:
    """Return a table of text, whose first lines, so many of them, are no rows."""

    def read(wanted: Sequence[str], text: str) -> list[Any]:
        # By their numbers, as two may have one name.
        columns = [str(names.index(each)) for each in wanted]
        types = {str(names.index(text)): pyarrow.string()} if text else {}
        table = pyarrow.csv.read_csv(
            file,
            pyarrow.csv.ReadOptions(
                use_threads=False,
                skip_rows=skipped,
                column_names=[str(n) for n in range(len(names))],
            ),
            pyarrow.csv.ParseOptions(delimiter=delimiter),
            pyarrow.csv.ConvertOptions(include_columns=columns, column_types=types),
        )
        # Reading leaves three times as much behind as it gives.
        pyarrow.default_memory_pool().release_unused()
        return [table[each].combine_chunks() for each in columns]

    return Table(names, lambda name: units.get(name, ""), read)


class _WithoutComments(io.RawIOBase):
    """A text file without lines that begin with ``#``, and with a newline at its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while chunk := self._file.read(size) + self._file.readline():
            if b"#" in chunk:
                chunk = _COMMENTS.sub(b"", chunk)
            if chunk:
                return chunk if chunk.endswith((b"\n", b"\r")) else chunk + b"\n"
        return b""
