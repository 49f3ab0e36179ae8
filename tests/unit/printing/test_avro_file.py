"""Alerts in Avro files: one file a schema, whatever its name, and records that are complete."""

from __future__ import annotations

import errno
import json
import os
from io import BytesIO
from pathlib import Path

import fastavro
import pytest

from alertstream.avro.container.blocks import _HEADER
from alertstream.avro.container.file import ContainerFile
from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import varint
from alertstream.errors import DataError
from alertstream.kafka.messages import Message
from alertstream.printing.writers.avro_file import AvroFile
from alertstream.reading.decoder import ReceivedAlert
from alertstream.reading.recording import SUFFIX, RecordedMessage, messages_path, read_messages
from alertstream.sending.visits.encoders import container_encoder


def carried(name: str, text: str = "x") -> Message:
    """A message with a schema of this name in it."""
    schema = {"type": "record", "name": name, "fields": [{"name": "objectId", "type": "string"}]}
    body = varint(len(text)) + text.encode()
    return Message("alerts", 0, 0, 0, None, b"".join(container_encoder(schema)(body)))


def put(writer: AvroFile, *messages: Message) -> None:
    for message in messages:
        writer.prepare(ReceivedAlert({}, message), None)()


def appended(path: Path, *messages: Message) -> list[str]:
    """Append messages to a file; return what was noticed."""
    notices = list[str]()
    with AvroFile(path, Schemas(), notices.append) as writer:
        put(writer, *messages)
        writer.close()
    return notices


def alert_files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.suffix != SUFFIX)


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
    assert files == alert_files(folder)
    assert sorted(len(records(file)) for file in files) == [1, 1, 1]
    assert records(folder / "night-undecodable.avro") == [b"junk"]
    assert sorted(tmp_path.iterdir()) == [folder]


def test_schemas_without_end(tmp_path: Path) -> None:
    with AvroFile(tmp_path / "night.avro", Schemas()) as writer:
        put(writer, *(carried(f"n{number}") for number in range(130)))
        files = writer.close()
    assert writer.saved == 130
    assert sum(len(records(file)) for file in files) == 130
    assert len(alert_files(tmp_path)) <= 101


@pytest.mark.hostile("4: a schema of 42 KB that is 1.5 MB in a saved file")
def test_a_schema_that_no_file_can_begin_with(tmp_path: Path) -> None:
    enums = [{"type": "enum", "name": f"e{number}", "symbols": ["A"]} for number in range(500)]
    fields = [{"name": each["name"], "type": each} for each in enums]
    schema = {"type": "record", "name": "x", "namespace": "n" * 3000, "fields": fields}
    header = BytesIO()
    meta = {"avro.schema": json.dumps(schema).encode(), "avro.codec": b"null"}
    start = {"magic": b"Obj\x01", "meta": meta, "sync": bytes(16)}
    fastavro.schemaless_writer(header, _HEADER, start)
    value = header.getvalue() + varint(1) + varint(500) + bytes(500 + 16)
    for _ in range(2):
        appended(tmp_path / "night.avro", Message("t", 0, 0, 0, None, value), carried("first"))
    assert records(tmp_path / "night-undecodable.avro") == [value] * 2
    assert len(records(tmp_path / "night.avro")) == 2


def test_a_file_is_appended_to_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "night.avro"
    for _ in range(2):
        with AvroFile(path, Schemas()) as writer:
            put(writer, carried("first"))
            writer.flush()
            with AvroFile(path, Schemas()) as second, pytest.raises(DataError, match="another"):
                put(second, carried("first"))
    assert len(records(path)) == 2
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 3)
    cut = f"removed the file's last record, which was cut short · {path}"
    assert appended(path, carried("first")) == [cut]
    assert len(records(path)) == 2


LONG = "x" * 9000
"""The size of such a record takes three bytes."""


@pytest.mark.hostile("4: a bit flips in a saved file: nothing behind it is removed")
def test_what_follows_a_flipped_bit_is_kept(tmp_path: Path) -> None:
    path, aside = tmp_path / "night.avro", tmp_path / "night.avro.bak"
    appended(path, *[carried("first", LONG)] * 10)
    content = path.read_bytes()
    second = content.index(varint(1) + varint(len(LONG) + 3), content.index(LONG.encode()))
    # Its count, its size, what it holds, and what ends it.
    for place in (*range(second, second + 6), second + 9000, second + 4 + len(LONG) + 3):
        # Sign, value and continuation of a number.
        for bit in (0, 1, 6, 7):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            messages_path(path).unlink(missing_ok=True)
            notices = appended(path, carried("first"))
            if notices:
                text = f"the file is damaged: renamed to {aside.name}, and a new one begun · {path}"
                assert notices == [text]
                assert aside.read_bytes() == damaged
                assert len(records(path)) == 1
                aside.unlink()
            else:
                assert path.read_bytes().startswith(damaged), (place, bit)


@pytest.mark.hostile("4: a saved file ends anywhere within its last record")
def test_a_file_may_be_cut_short_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "night.avro"
    appended(path, carried("first"))
    first = path.read_bytes()
    appended(path, carried("first", LONG))
    both = path.read_bytes()
    for end in (1, 2, 3, 4, 5, 100, len(both) - len(first) - 16, len(both) - len(first) - 1):
        path.write_bytes(both[: len(first) + end])
        assert appended(path, carried("first"))[0].startswith("removed the file's last record")
        assert len(records(path)) == 2


@pytest.mark.hostile("4: saved files that are damaged again and again: each is kept")
def test_damaged_files_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "night.avro"
    for _ in range(4):
        appended(path, carried("first"))
        *whole, last = path.read_bytes()
        path.write_bytes(bytes([*whole, last ^ 1]))
    names = ["night.avro", "night.avro.bak", "night.avro.bak2", "night.avro.bak3"]
    assert [each.name for each in alert_files(tmp_path)] == names


def test_a_disk_that_is_full_leaves_no_half_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "night.avro"
    with monkeypatch.context() as patch, pytest.raises(DataError, match="No space left"):
        patch.setattr("os.fsync", full)
        appended(path, carried("first"))
    assert path.read_bytes() == b""
    assert appended(path, carried("first")) == []


def test_a_disk_that_is_full_leaves_whole_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "night.avro"
    appended(path, carried("first"))
    whole, write = path.read_bytes(), os.write

    def full(file: int, content: bytes) -> int:
        if os.fstat(file).st_size > len(whole):
            raise OSError(errno.ENOSPC, "No space left on device")
        # Of what follows, the disk takes the beginning.
        return write(file, bytes(content[:100]))

    with monkeypatch.context() as patch, pytest.raises(DataError, match="No space left"):
        patch.setattr("os.write", full)
        appended(path, carried("first"))
    assert path.read_bytes() == whole


def test_a_file_without_its_header_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "night.avro"
    path.touch()
    with AvroFile(path, Schemas()) as writer:
        put(writer, carried("first"))
        writer.close()
    assert len(records(path)) == 1


def kept_in(path: Path) -> list[tuple[int, bytes, RecordedMessage | None]]:
    """Where each record is, the record, and how its message came."""
    with ContainerFile(path) as container:
        found = read_messages(path, container.sync_marker)
        return [(start, body or b"", found.get(start)) for start, body in container.places()]


def message(number: int) -> Message:
    headers = (("producer_timestamp", b"%d" % number), ("empty", None))
    return carried("first", f"{number}" * 300)._replace(
        partition=number, timestamp=1000 + number, key=b"k%d" % number, headers=headers
    )


def test_how_messages_came_is_kept_beside(tmp_path: Path) -> None:
    path = tmp_path / "night.avro"
    appended(path, message(1), message(2), carried("second"))
    appended(path, message(3))
    appended(tmp_path / "other.avro", message(9))
    assert [found for _, _, found in kept_in(path)] == [
        RecordedMessage(
            n, 1000 + n, b"k%d" % n, (("producer_timestamp", b"%d" % n), ("empty", None))
        )
        for n in (1, 2, 3)
    ]
    assert [found for _, _, found in kept_in(tmp_path / "night-second.avro")] == [
        RecordedMessage(0, 0, None, ())
    ]
    # Every reader of Avro reads both.
    with messages_path(path).open("rb") as file:
        assert [each["partition"] for each in fastavro.reader(file)] == [1, 2, 3]
    with path.open("rb") as file:
        assert len(list(fastavro.reader(file))) == 3


@pytest.mark.parametrize(
    "lost", ["alerts", "one alert", "half an alert", "messages", "all messages"]
)
def test_after_a_crash_none_is_taken_for_another(tmp_path: Path, lost: str) -> None:
    path = tmp_path / "night.avro"
    appended(path, message(1), message(2))
    before = path.stat().st_size, messages_path(path).stat().st_size
    appended(path, message(3), message(4))
    fourth, _, _ = kept_in(path)[3]
    match lost:
        case "alerts":
            os.truncate(path, before[0])
        case "one alert":
            os.truncate(path, fourth)
        case "half an alert":
            os.truncate(path, fourth + 100)
        case "messages":
            os.truncate(messages_path(path), before[1] + 7)
        case "all messages":
            messages_path(path).unlink()
    appended(path, message(5))
    found = {body[2:5]: kept and kept.partition for _, body, kept in kept_in(path)}
    there = {b"111": 1, b"222": 2, b"333": 3, b"444": 4, b"555": 5}
    if lost.endswith("messages"):
        unknown = (b"333", b"444") if lost == "messages" else (b"111", b"222", b"333", b"444")
        assert found == there | dict.fromkeys(unknown)
    else:
        del there[b"444"]
        if lost == "alerts":
            del there[b"333"]
        assert found == there


def test_messages_of_another_file_are_moved_aside(tmp_path: Path) -> None:
    path, other = tmp_path / "night.avro", tmp_path / "other.avro"
    appended(path, message(1))
    appended(other, message(2), message(3))
    messages_path(other).rename(messages_path(path))
    with pytest.raises(DataError, match="belongs to another file"):
        kept_in(path)
    (noticed,) = appended(path, message(4))
    assert noticed.startswith("it belongs to another file: renamed to night.avro.messages.bak")
    assert [kept and kept.partition for _, _, kept in kept_in(path)] == [None, 4]
    for junk in (b"", b"junk", messages_path(path).read_bytes()[:-1] + b"x"):
        messages_path(path).write_bytes(junk)
        appended(path, message(5))
        assert [kept and kept.partition for _, _, kept in kept_in(path)][-1] == 5
