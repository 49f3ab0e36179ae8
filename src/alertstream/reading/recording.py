"""The messages of saved alerts, without their bodies, in a second file that makes replays possible.

``night.avro.messages`` is a container file, too. Each of its records names the place in
``night.avro`` where the alert's block starts, and has the same sync marker. So after a crash either
may be shorter than the other, and no file is mistaken for another's.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from alertstream.avro.container.file import value_blocks
from alertstream.avro.schema_tree import Schema
from alertstream.kafka.messages import Message

SUFFIX = ".messages"
"""Suffix of such a file, after the name of the alerts' file."""
MESSAGE_SCHEMA: Schema = {
    "type": "record",
    "name": "alertstream.message",
    "fields": [
        {"name": "start", "type": "long"},
        {"name": "topic", "type": "string"},
        {"name": "partition", "type": "int"},
        {"name": "offset", "type": "long"},
        {"name": "timestamp", "type": "long", "doc": "ms since 1970"},
        {"name": "key", "type": ["null", "bytes"]},
        {
            "name": "headers",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "alertstream.header",
                    "fields": [
                        {"name": "name", "type": "string"},
                        {"name": "value", "type": ["null", "bytes"]},
                    ],
                },
            },
        },
    ],
}
"""What is kept of a message; ``start`` is the place of its alert's block, in bytes."""


class RecordedMessage(NamedTuple):
    """A message but for its topic, offset and value; ``timestamp`` is in ms since 1970."""

    partition: int
    timestamp: int
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def messages_path(path: Path) -> Path:
    """Return the path of the messages that belong to a file of alerts."""
    return path.with_name(f"{path.name}{SUFFIX}")


def message_record(message: Message, start: int) -> dict[str, object]:
    """Return the record of a message whose alert's block is at ``start``."""
    names = ("topic", "partition", "offset", "timestamp", "key")
    headers = [{"name": name, "value": value} for name, value in message.headers]
    return {name: getattr(message, name) for name in names} | {"start": start, "headers": headers}


def read_messages(path: Path, sync_marker: bytes) -> dict[int, RecordedMessage]:
    """Return the messages of a file's alerts, by where each alert's block starts.

    :param sync_marker: of the file.
    :raises DataError: they are missing, damaged, or of another file.
    """
    return {
        each["start"]: RecordedMessage(
            each["partition"],
            each["timestamp"],
            each["key"],
            tuple((header["name"], header["value"]) for header in each["headers"]),
        )
        for _, records in value_blocks(messages_path(path), MESSAGE_SCHEMA, sync_marker)
        for each in records
    }
