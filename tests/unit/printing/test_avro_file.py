"""Alerts in Avro files: one file a schema, whatever its name, and records that are complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from alertstream.avro.container import ContainerFile
from alertstream.avro.schemas import Schemas
from alertstream.errors import DataError
from alertstream.kafka.messages import Message
from alertstream.printing.writers.avro_file import AvroFile
from alertstream.reading.decoder import ReceivedAlert
from alertstream.sending.encoders import container_encoder


def carried(name: str) -> Message:
    """A message with a schema of this name in it."""
    schema = {"type": "record", "name": name, "fields": [{"name": "objectId", "type": "string"}]}
    return Message("alerts", 0, 0, 0, None, b"".join(container_encoder(schema)(b"\x02x")))


def put(writer: AvroFile, *messages: Message) -> None:
    for message in messages:
        writer.prepare(ReceivedAlert({}, message), None)()


def records(path: Path) -> list[bytes]:
    """A file's records as they are encoded, or its whole messages."""
    with ContainerFile(path) as container:
        return list(container)


@pytest.mark.parametrize("name", ["a/b", "../../up", "n" * 300, "undecodable"])
def test_schemas_of_odd_names(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    junk = Message("alerts", 0, 2, 0, None, b"junk")
    with AvroFile(folder / "night.avro", Schemas()) as writer:
        put(writer, carried("first"), carried(name))
        writer.add_undecodable(junk)
        files = writer.close()
    assert writer.saved == 3
    assert files == sorted(folder.iterdir())
    assert sorted(len(records(file)) for file in files) == [1, 1, 1]
    assert records(folder / "night-undecodable.avro") == [b"junk"]
    assert sorted(tmp_path.iterdir()) == [folder]


def test_schemas_without_end(tmp_path: Path) -> None:
    with AvroFile(tmp_path / "night.avro", Schemas()) as writer:
        put(writer, *(carried(f"n{number}") for number in range(130)))
        files = writer.close()
    assert writer.saved == 130
    assert sum(len(records(file)) for file in files) == 130
    assert len(list(tmp_path.iterdir())) <= 101


def test_a_file_is_appended_to_by_one_at_a_time(tmp_path: Path) -> None:
    path, notices = tmp_path / "night.avro", list[str]()
    for _ in range(2):
        with AvroFile(path, Schemas()) as writer:
            put(writer, carried("first"))
            writer.flush()
            with AvroFile(path, Schemas()) as second, pytest.raises(DataError, match="another"):
                put(second, carried("first"))
    assert len(records(path)) == 2
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 3)
    with AvroFile(path, Schemas(), notices.append) as writer:
        put(writer, carried("first"))
        writer.close()
    assert len(records(path)) == 2
    assert notices == [f"removed the file's last record, which was cut short · {path}"]


def test_a_file_without_its_header_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "night.avro"
    path.touch()
    with AvroFile(path, Schemas()) as writer:
        put(writer, carried("first"))
        writer.close()
    assert len(records(path)) == 1
