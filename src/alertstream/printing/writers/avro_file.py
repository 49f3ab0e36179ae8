"""Alerts to Avro container files that ``send`` can replay, byte for byte.

A file has one writer schema and one record a block, so that it can be appended to, and whatever
ends the process leaves complete records. One that was cut short is removed at the next start.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from alertstream.avro.container.blocks import MAX_HEADER, MESSAGES, container_header
from alertstream.avro.container.file import container_tail, schema_in
from alertstream.avro.schemas import Schemas, canonical_fingerprint
from alertstream.avro.wire import varint
from alertstream.errors import Notice
from alertstream.kafka.messages import Message
from alertstream.kafka.topics import UNDECODABLE_SUFFIX
from alertstream.printing.writers import Writer
from alertstream.printing.writers.messages_file import MessagesFile, append
from alertstream.reading.decoder import ReceivedAlert
from alertstream.reading.envelope import SchemaKey, opened, schema_of
from alertstream.reading.recording import messages_path
from alertstream.system.files import free_name, locked, writing

if TYPE_CHECKING:
    from alertstream.alert.pictures import Triplet

MAX_FILES = 100
"""Beyond it, alerts of other or huge schemas are saved as whole messages, like undecodable ones."""
MAX_NAME = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class AvroFile(Writer):
    """Appends alerts to a container file, and others to further files beside it.

    The file ``night.avro`` has its existing schema, or else that of the first alert. Alerts with
    another schema go to ``night-lsst.v7_4.alert.avro``, and undecodable messages go, whole, to
    ``night-undecodable.avro``. Each has a second file, ``night.avro.messages``, with partitions,
    times, keys and headers. A damaged file is renamed to ``night.avro.bak``.

    :param notice: called when a file is renamed, or a truncated record is removed.
    :raises DataError: the file is not a container file that can be appended to.
    """

    durable = True
    keeps_undecodable = True

    def __init__(self, path: Path, schemas: Schemas, notice: Notice = lambda text: None) -> None:
        self._path = path
        self._schemas = schemas
        self._notice = notice
        self._files: dict[Path, _Appender] = {}
        self._by_schema: dict[SchemaKey, _Appender] = {}
        self._main_schema = _fingerprint_in(path)

    def __exit__(self, *_: object) -> None:
        for each in self._files.values():
            each.close()

    def prepare(self, alert: ReceivedAlert, triplet: Triplet | None) -> Callable[[], None]:
        """Return what takes an alert: its bytes, however much of it is decoded."""
        return partial(self._add, alert.message)

    def _add(self, message: Message) -> None:
        key, content, start = opened(message.value, message.key, self._schemas)
        appender = self._by_schema.get(key) or self._appender(key)
        if appender is None:
            self.add_undecodable(message)
        else:
            appender.append(content[start:], message)

    def add_undecodable(self, message: Message) -> None:
        """Take a message that cannot be decoded, as it came."""
        value = message.value or b""
        file = self._open(self._beside(UNDECODABLE_SUFFIX), container_header(MESSAGES))
        file.append(varint(len(value)) + value, message)

    def flush(self) -> None:
        """Write what was taken to the disk; if that fails, restore the previous content."""
        for each in self._files.values():
            each.flush()
        self.saved = sum(each.written for each in self._files.values())

    def close(self) -> list[Path]:
        """Write the rest; return the files that were written to."""
        self.flush()
        return sorted(self._files)

    def _appender(self, key: SchemaKey) -> _Appender | None:
        """Return the file for a schema; None if there are too many, or it is too large for one."""
        schema = schema_of(key, self._schemas)
        own = canonical_fingerprint(schema)
        header = container_header(schema, key if isinstance(key, int) else None)
        if len(header) > MAX_HEADER:
            return None
        self._main_schema = self._main_schema or own
        if own == self._main_schema:
            path = self._path
        elif len(self._files) >= MAX_FILES:
            return None
        else:
            path = self._path_for(schema["name"], own)
        if len(self._by_schema) >= MAX_FILES:
            self._by_schema.clear()
        return self._by_schema.setdefault(key, self._open(path, header))

    def _path_for(self, name: str, fingerprint: str) -> Path:
        """Return where alerts of another schema go, named after it."""
        safe = _UNSAFE.sub("_", name)[:MAX_NAME]
        path = self._beside(f"-{safe}")
        reserved = path == self._beside(UNDECODABLE_SUFFIX)
        if safe != name or reserved or _fingerprint_in(path) not in (None, fingerprint):
            path = self._beside(f"-{safe}-{fingerprint[:8]}")
        return path

    def _open(self, path: Path, header: bytes) -> _Appender:
        if path not in self._files:
            self._files[path] = _Appender(path, header, self._notice)
        return self._files[path]

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(f"{self._path.stem}{ending}{self._path.suffix}")


def _fingerprint_in(path: Path) -> str | None:
    """Return the fingerprint of a file's schema; None if there is no file, or it is empty."""
    with writing(path):
        if not path.exists() or path.stat().st_size == 0:
            return None
    return canonical_fingerprint(schema_in(container_tail(path).schema))


class _Appender:
    """A container file that records are appended to, by one process at a time."""

    def __init__(self, path: Path, header: bytes, notice: Notice) -> None:
        self._path = path
        self._blocks: list[tuple[bytes, ...]] = []
        self.written = 0
        with ExitStack() as opened, writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = opened.enter_context(locked(path))
            if path.stat().st_size and container_tail(path).end is None:
                aside = free_name(path)
                path.rename(aside)
                if messages_path(path).exists():
                    messages_path(path).rename(messages_path(aside))
                moved = f"renamed to {aside.name}, and a new one begun"
                notice(f"the file is damaged: {moved} · {path}")
                self._file.close()
                self._file = opened.enter_context(locked(path))
            if path.stat().st_size == 0:
                append(self._file, [header])
                # So that the disk has the file's name, too.
                _sync_folder(path.parent)
            tail = container_tail(path)
            self._sync_marker = tail.sync_marker
            self._next = tail.end or 0
            if self._next < path.stat().st_size:
                notice(f"removed the file's last record, which was cut short · {path}")
                self._file.truncate(self._next)
            self._messages = MessagesFile(path, self._sync_marker, self._next, notice)
            # All went well: keep the file open.
            opened.pop_all()

    def append(self, body: bytes, message: Message) -> None:
        block = (varint(1), varint(len(body)), body, self._sync_marker)
        self._blocks.append(block)
        self._messages.append(message, self._next)
        self._next += sum(map(len, block))

    def flush(self) -> None:
        if not self._blocks:
            return
        # First, so that no alert is saved without its message.
        self._messages.flush()
        with writing(self._path):
            append(self._file, map(b"".join, self._blocks))
        self.written += len(self._blocks)
        self._blocks.clear()

    def close(self) -> None:
        self._file.close()
        self._messages.close()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
