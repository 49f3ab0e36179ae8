"""Messages to container files that ``send`` can play again, byte for byte.

A file has one writer schema and one record a block, so that it can be appended to, and whatever
ends the process leaves whole records. What was cut short by that is removed at the next start.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from alertstream.alert.alert import Alert
from alertstream.avro.blocks import CONTAINER_MAGIC, container_header, open_container_message
from alertstream.avro.container import ContainerTail, container_tail, schema_in
from alertstream.avro.schemas import Schema, Schemas, canonical_fingerprint, full_name
from alertstream.avro.wire import HEADER_SIZE, unpack, varint
from alertstream.errors import DataError
from alertstream.kafka.admin import UNDECODABLE
from alertstream.kafka.messages import Message
from alertstream.system.files import not_written, part_of

if TYPE_CHECKING:
    from alertstream.alert.pictures import Triplet

MESSAGES: Schema = {"type": "bytes"}
"""Schema of a file that holds whole messages, as what cannot be decoded."""


MOST_FILES = 100
"""Schemas beyond that many are kept whole, with what cannot be decoded."""
LONGEST_NAME = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class Recorder:
    """Appends alerts to a container file, and what does not go into it to others beside it.

    The file ``night.avro`` has the schema that it had, or else that of the first alert. An alert of
    another schema goes to ``night-lsst.v7_4.alert.avro``, and a message that cannot be decoded goes
    whole to ``night-undecodable.avro``. Keys, timestamps and headers are not kept.

    :param notice: told when records that were cut short are removed.
    """

    durable = True
    draws = False
    keeps_undecodable = True

    def __init__(
        self, path: Path, schemas: Schemas, notice: Callable[[str], None] = lambda text: None
    ) -> None:
        self._path = path
        self._schemas = schemas
        self._notice = notice
        self._files: dict[Path, _Recording] = {}
        self._by_schema: dict[int | bytes, _Recording] = {}
        self._first = _own_schema(path)

    @property
    def saved(self) -> int:
        """Records and messages that the disk has."""
        return sum(each.written for each in self._files.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._files.values():
            each.close()

    def prepare(
        self, message: Message, alert: Alert, picture: Triplet | None = None
    ) -> Callable[[], None]:
        """Return what takes an alert: its bytes, however much of it is decoded."""
        return partial(self._add, message)

    def _add(self, message: Message) -> None:
        """Take an alert.

        :raises DataError: the file cannot be written, or is another's.
        """
        value = message.value or b""
        if value.startswith(CONTAINER_MAGIC):
            key, body = open_container_message(value)
            recording = self._by_schema.get(key) or self._recording(key, schema_in(key))
        else:
            schema_id, body = unpack(value)[0], value[HEADER_SIZE:]
            recording = self._by_schema.get(schema_id) or self._recording(
                schema_id, self._schemas.by_id(schema_id)
            )
        if recording is None:
            self.add_undecodable(message)
        else:
            recording.append(body)

    def add_undecodable(self, message: Message) -> None:
        """Take a message that is no alert.

        :raises DataError: the file cannot be written, or is another's.
        """
        value = message.value or b""
        self._open(self._beside(UNDECODABLE), MESSAGES).append(varint(len(value)) + value)

    def flush(self) -> None:
        """Write what was taken, and return when the disk has it.

        :raises DataError: it cannot be written; the files keep what they had.
        """
        for each in self._files.values():
            each.flush()

    def close(self) -> list[Path]:
        """Write the rest; return the files that were written to.

        :raises DataError: it cannot be written; the files keep what they had.
        """
        self.flush()
        return sorted(self._files)

    def _recording(self, key: int | bytes, schema: Schema) -> _Recording | None:
        """Return the file for a schema; None if there are too many."""
        own, name = canonical_fingerprint(schema), full_name(schema)
        self._first = self._first or own
        if own == self._first:
            path = self._path
        elif len(self._files) >= MOST_FILES:
            return None
        else:
            safe = _UNSAFE.sub("_", name)[:LONGEST_NAME]
            path = self._beside(f"-{safe}")
            taken = path == self._beside(UNDECODABLE) or _own_schema(path) not in (None, own)
            if taken or safe != name:
                path = self._beside(f"-{safe}-{own[:8]}")
        if len(self._by_schema) >= MOST_FILES:
            self._by_schema.clear()
        schema_id = key if isinstance(key, int) else None
        return self._by_schema.setdefault(key, self._open(path, schema, schema_id))

    def _open(self, path: Path, schema: Schema, schema_id: int | None = None) -> _Recording:
        if path not in self._files:
            self._files[path] = _Recording(path, schema, schema_id, self._notice)
        return self._files[path]

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(f"{self._path.stem}{ending}{self._path.suffix}")


def _own_schema(path: Path) -> str | None:
    """Return the fingerprint of the schema of a file that is there.

    :raises DataError: it is no container file.
    """
    try:
        if not path.exists():
            return None
    except OSError as error:
        raise not_written(path, error) from error
    schema = schema_in(container_tail(path).schema)
    return canonical_fingerprint(schema)


class _Recording:
    """A container file that records are appended to.

    :raises DataError: it cannot be written, is compressed or damaged, or is written to by another.
    """

    def __init__(
        self, path: Path, schema: Schema, schema_id: int | None, notice: Callable[[str], None]
    ) -> None:
        self._path = path
        self._parts: list[tuple[bytes, ...]] = []
        self.written = 0
        try:
            if not path.exists():
                _create(path, container_header(schema, schema_id))
            self._file: BinaryIO = path.open("r+b")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                "another process writes to the file", where=str(path), todo="choose another --save"
            ) from error
        except OSError as error:
            raise not_written(path, error) from error
        tail: ContainerTail = container_tail(path)
        self._sync_marker = tail.sync_marker
        if tail.end < path.stat().st_size:
            notice(f"the file's last record was cut short, and is removed · {path}")
            self._file.truncate(tail.end)
        self._end = self._file.seek(tail.end)

    def append(self, body: bytes) -> None:
        self._parts.append((varint(1), varint(len(body)), body, self._sync_marker))

    def flush(self) -> None:
        if not self._parts:
            return
        try:
            self._file.writelines(chain.from_iterable(self._parts))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._end)
            raise not_written(self._path, error) from error
        self._end = self._file.tell()
        self.written += len(self._parts)
        self._parts.clear()

    def close(self) -> None:
        self._file.close()


def _create(path: Path, header: bytes) -> None:
    """Make the file with all of its header, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        part.write_bytes(header)
        try:
            # Unlike a rename, this leaves a file alone that another process has made meanwhile.
            path.hardlink_to(part)
        except FileExistsError:
            pass
        except OSError:
            # A file system without links.
            part.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        part.unlink(missing_ok=True)
