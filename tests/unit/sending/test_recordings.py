"""What ``print --save`` has saved: its visits, and how their messages came."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.samples import body_of, official_schema, sample_alert, write_container

from alertstream.avro.container.blocks import Shard
from alertstream.avro.container.file import ContainerFile
from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import pack
from alertstream.errors import DataError
from alertstream.kafka.messages import Message
from alertstream.printing.writers.avro_file import AvroFile
from alertstream.reading.decoder import ReceivedAlert
from alertstream.reading.recording import messages_path
from alertstream.sending.visits.recordings import recorded_visits, split_by_visit
from alertstream.sending.visits.schedule import VisitFiles


def alert(visit: int, number: int = 0) -> bytes:
    found = sample_alert("10.0")
    return body_of(
        found | {"diaSource": found["diaSource"] | {"visit": visit, "detector": number}}, "10.0"
    )


def message(visit: int, partition: int, timestamp: int) -> Message:
    value = pack(1000, alert(visit, partition))
    return Message("alerts", partition, 0, timestamp, b"key", value, (("h", b"x"),))


def saved(path: Path, *messages: Message) -> Path:
    with AvroFile(path, Schemas()) as writer:
        for each in messages:
            writer.prepare(ReceivedAlert({}, each), None)()
        writer.close()
    return path


def apart(path: Path) -> list[VisitFiles]:
    return split_by_visit([VisitFiles(path, (path,))])


def bodies(visit: VisitFiles) -> list[bytes]:
    with ContainerFile(visit.path) as container:
        return [container.record_at(each.start) for each in visit.records or ()]


# As a topic is read: one partition after the other.
MESSAGES = (
    message(1, 0, 1000),
    message(2, 0, 41_000),
    message(1, 1, 900),
    message(1, 1, 40_000),
    message(2, 1, 39_500),
)


def test_visits_of_a_recording_are_kept_apart(tmp_path: Path) -> None:
    path = saved(tmp_path / "night.avro", *MESSAGES)
    first, second = apart(path)
    assert bodies(first) == [alert(1, 0), alert(1, 1), alert(1, 1)]
    assert bodies(second) == [alert(2, 0), alert(2, 1)]
    # One that an earlier version has saved says it by its header.
    messages_path(path).unlink()
    assert len(apart(path)) == 2
    assert apart(saved(tmp_path / "one.avro", MESSAGES[0])) == [
        VisitFiles(tmp_path / "one.avro", (tmp_path / "one.avro",))
    ]


def test_other_files_are_a_visit_each(tmp_path: Path) -> None:
    alerts = [sample_alert("10.0")] * 3
    path = write_container(tmp_path / "a.avro", official_schema("10.0"), alerts, sync_interval=1)
    assert apart(path) == [VisitFiles(path, (path,))]
    # A damaged recording is sent up to the damage.
    night = saved(tmp_path / "night.avro", *MESSAGES)
    night.write_bytes(night.read_bytes()[:-9])
    assert apart(night) == [VisitFiles(night, (night,))]


def test_recorded_messages_are_in_the_order_of_their_times(tmp_path: Path) -> None:
    first, second = recorded_visits([saved(tmp_path / "night.avro", *MESSAGES)])
    # A partition keeps its order, whatever its timestamps say.
    assert [each.time for each in first.records or ()] == [0.9, 1.0, 40.0]
    assert [each.time for each in second.records or ()] == [40.0, 41.0]
    kept = [each.message for each in first.records or ()]
    assert [each and (each.partition, each.key, each.headers) for each in kept] == [
        (partition, b"key", (("h", b"x"),)) for partition in (1, 0, 1)
    ]


def test_messages_that_are_not_known_go_with_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "night.avro"
    saved(path, MESSAGES[0])
    size = messages_path(path).stat().st_size
    saved(path, *MESSAGES[1:3])
    with messages_path(path).open("ab") as file:
        file.truncate(size)
    first, second = recorded_visits([path])
    found = [each.message for each in (*(first.records or ()), *(second.records or ()))]
    assert [each and (each.timestamp, each.key) for each in found] == [
        (1000, b"key"),
        (1000, None),
        (1000, None),
    ]


def test_files_that_cannot_be_replayed(tmp_path: Path) -> None:
    path = saved(tmp_path / "night.avro", *MESSAGES)
    kept = messages_path(path).read_bytes()
    for content, what in (
        (None, "does not say when its alerts came"),
        (b"junk", "the file is damaged"),
        (kept[:-17] + b"x" + kept[-16:], "the file is damaged"),
        (
            messages_path(saved(tmp_path / "b.avro", *MESSAGES)).read_bytes(),
            "belongs to another file",
        ),
    ):
        messages_path(path).unlink(missing_ok=True)
        if content is not None:
            messages_path(path).write_bytes(content)
        with pytest.raises(DataError, match=what):
            recorded_visits([path])
    messages_path(path).write_bytes(kept)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="damaged"):
        recorded_visits([path])


@pytest.mark.parametrize("block", [1, 100_000])
def test_records_are_counted_as_they_are_read(tmp_path: Path, block: int) -> None:
    alerts = [sample_alert("10.0")] * 11
    path = write_container(
        tmp_path / "a.avro", official_schema("10.0"), alerts, sync_interval=block
    )
    for limit in (None, 0, 5, 11, 99):
        for shard in (Shard(0, 1), Shard(0, 3), Shard(2, 3)):
            with ContainerFile(path) as container, ContainerFile(path) as other:
                assert container.count(limit, shard) == len(list(other.records(limit, shard)))
