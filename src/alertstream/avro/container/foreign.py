"""Files and messages that are not container files: told for what they are, or made into one."""

from __future__ import annotations

import codecs
import gzip
import zlib
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO

import fastavro

from alertstream.avro.container.blocks import CONTAINER_MAGIC, MAX_MESSAGE_BLOCK, MESSAGES
from alertstream.avro.wire import schema_id_of
from alertstream.errors import DataError

MAX_UNPACKED = 8 * 1024**3
"""Bytes of a compressed file once it is unpacked; a visit of the largest alerts has 3 GB."""
MAX_READ = 1024 * 1024
"""Bytes unpacked at a time."""
START_SIZE = 512
"""Bytes at the beginning that say what something is."""

GZIP, LFS_POINTER = "gzip", "a Git LFS pointer"
_BY_START = {
    b"version https://git-lfs": LFS_POINTER,
    b"\x1f\x8b": GZIP,
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"\xfd7zXZ\0": "xz",
    b"PK\x03\x04": "a ZIP archive",
    b"PAR1": "Parquet",
    b"SIMPLE  =": "FITS",
    b"\x89HDF": "HDF5",
}
_TEXTS = {"{": "JSON", "[": "JSON", "<": "XML"}


def kind_of(content: bytes) -> str | None:
    """Return what something is that is not Avro, by its beginning; None if that is not known."""
    if not content:
        return "empty"
    for start, kind in _BY_START.items():
        if content.startswith(start):
            return kind
    with suppress(UnicodeDecodeError):
        # A character may be cut.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(content[:START_SIZE]).strip()
        if text and all(each.isprintable() or each.isspace() for each in text):
            return _TEXTS.get(text[0], "plain text")
    return None


def open_container(path: Path) -> BinaryIO:
    """Open a container file; one that is compressed with gzip is unpacked.

    Of a file that is one message in the wire format, a container file of this message is made.

    :raises DataError: it is known to be something else, or what is compressed is damaged.
    :raises OSError: it cannot be read, or there is no room to unpack it.
    """
    file: BinaryIO = path.open("rb")
    start = file.read(START_SIZE)
    if start.startswith(CONTAINER_MAGIC):
        file.seek(0)
        return file
    with file:
        kind = kind_of(start)
        file.seek(0)
        if kind == GZIP:
            unpacked = _unpacked(file, path)
            start = unpacked.read(START_SIZE)
            unpacked.seek(0)
            if start.startswith(CONTAINER_MAGIC):
                return unpacked
            file, kind = unpacked, kind_of(start)
        with file:
            if schema_id_of(start) is not None:
                message = file.read(MAX_MESSAGE_BLOCK + 1)
                if len(message) <= MAX_MESSAGE_BLOCK:
                    return _container_of(message)
    if kind is None:
        raise DataError(_NO_CONTAINER, where=str(path), todo="choose another file")
    pull = "get the file itself: git lfs pull"
    todo = pull if kind == LFS_POINTER else "choose another file"
    raise DataError(f"{_NO_CONTAINER}: it is {kind}", where=str(path), todo=todo)


_NO_CONTAINER = "not an Avro container file"


def _unpacked(file: BinaryIO, path: Path) -> BinaryIO:
    with ExitStack() as opened:
        unpacked: IO[bytes] = opened.enter_context(TemporaryFile())
        try:
            with gzip.GzipFile(fileobj=file) as packed:
                while content := packed.read(MAX_READ):
                    unpacked.write(content)
                    if unpacked.tell() > MAX_UNPACKED:
                        what = f"it unpacks to more than {MAX_UNPACKED // 1024**3} GiB"
                        raise DataError(what, where=str(path), todo="unpack it, and send its parts")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            todo = "fetch the file again"
            raise DataError("the gzip file is damaged", where=str(path), todo=todo) from error
        unpacked.seek(0)
        # It stays open where all went well.
        opened.pop_all()
    return unpacked  # type: ignore[return-value]


def _container_of(message: bytes) -> BinaryIO:
    container = BytesIO()
    fastavro.writer(container, MESSAGES, [message])
    container.seek(0)
    return container
