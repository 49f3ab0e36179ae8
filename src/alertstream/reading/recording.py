"""How the messages of saved alerts came: kept in a file beside theirs, so that they are replayed.

``night.avro.messages`` is a container file, too. Each of its records names the place in
``night.avro`` where the alert's block starts, and the end of its blocks is marked as there. So
either may be shorter than the other, after a crash, and none is taken for another's.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from alertstream.avro.container.file import value_blocks
from alertstream.avro.schema_tree import Schema
from alertstream.kafka.messages import Message

SUFFIX = ".messages"
"""What the name of such a file has after that of the alerts' file."""
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
    """How a message came; ``timestamp`` is in milliseconds since 1970."""

    partition: int
    timestamp: int
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def messages_path(path: Path) -> Path:
    """Return the file that keeps how the messages of the alerts in another one came."""
    return path.with_name(f"{path.name}{SUFFIX}")


def message_record(message: Message, start: int) -> dict[str, object]:
    """Return the record of a message whose alert's block is at ``start``."""
    names = ("topic", "partition", "offset", "timestamp", "key")
    headers = [{"name": name, "value": value} for name, value in message.headers]
    return {name: getattr(message, name) for name in names} | {"start": start, "headers": headers}


def read_messages(path: Path, sync_marker: bytes) -> dict[int, RecordedMessage]:
    """Return how the messages of a file's alerts came, by the place where each one's block starts.

    :param sync_marker: of the file.
    :raises DataError: it is not known, or what is known is of another file.
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
