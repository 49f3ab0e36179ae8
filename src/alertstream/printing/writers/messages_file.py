"""Writes the messages of saved alerts beside their file (``reading/recording.py``)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

from alertstream.avro.container.blocks import container_header
from alertstream.avro.container.file import container_tail, value_blocks, values_block
from alertstream.errors import DataError, Notice
from alertstream.kafka.messages import Message
from alertstream.reading.recording import MESSAGE_SCHEMA, message_record, messages_path
from alertstream.system.files import free_name, locked, writing


def append(file: BinaryIO, parts: Iterable[bytes]) -> None:
    """Append to a file on the disk; if that fails, restore the previous content.

    :raises OSError: it cannot be written.
    """
    descriptor = file.fileno()
    end = os.fstat(descriptor).st_size
    try:
        for part in parts:
            # Not through Python's buffer, which at the end would try again what was refused.
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, end)
        raise


class MessagesFile:
    """Saves messages without their bodies; it is flushed before the file of their alerts.

    :param path: the file of the alerts.
    :param sync_marker: of that file.
    :param end: of that file; messages of later alerts, left by a crash, are removed.
    :param notice: called when a file that belongs to other alerts is renamed.
    """

    def __init__(self, path: Path, sync_marker: bytes, end: int, notice: Notice) -> None:
        self._path = messages_path(path)
        self._sync_marker = sync_marker
        self._waiting: list[dict[str, Any]] = []
        with ExitStack() as opened, writing(self._path):
            self._file: BinaryIO = opened.enter_context(locked(self._path))
            if self._path.stat().st_size:
                try:
                    self._cut_after(end)
                except DataError as error:
                    aside = free_name(self._path)
                    self._path.rename(aside)
                    notice(f"{error.what}: renamed to {aside.name} · {self._path}")
                    self._file.close()
                    self._file = opened.enter_context(locked(self._path))
            if self._path.stat().st_size == 0:
                self._write(container_header(MESSAGE_SCHEMA, sync_marker=sync_marker))
            # All went well: keep the file open.
            opened.pop_all()

    def _cut_after(self, end: int) -> None:
        """Remove messages of alerts from ``end`` on, and a truncated one."""
        whole = container_tail(self._path).end
        if whole is None:
            raise DataError("the file is damaged")
        self._file.truncate(whole)
        for start, values in value_blocks(self._path, MESSAGE_SCHEMA, self._sync_marker):
            left = [each for each in values if each["start"] < end]
            if len(left) < len(values):
                self._file.truncate(start)
                self._waiting += left
                self.flush()
                break

    def append(self, message: Message, start: int) -> None:
        """Take a message whose alert's block will be at ``start``."""
        self._waiting.append(message_record(message, start))

    def flush(self) -> None:
        """Write to the disk; if that fails, restore the previous content."""
        if self._waiting:
            self._write(values_block(MESSAGE_SCHEMA, self._waiting, self._sync_marker))
            self._waiting.clear()

    def _write(self, content: bytes) -> None:
        with writing(self._path):
            append(self._file, [content])

    def close(self) -> None:
        """Release the file."""
        self._file.close()
