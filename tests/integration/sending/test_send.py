"""``alertstream send``: what is in the files is in the topic, or it is said why not."""

from __future__ import annotations

import asyncio
import os
import random
import time
from io import BytesIO
from pathlib import Path

import fastavro
import pytest
from tests.support import raw_kafka, samples
from tests.support.commands import run, start, stop, until
from tests.support.samples import (
    bodies_in,
    body_of,
    official_schema,
    sample_alert,
    schema_id,
    write_container,
)

from alertstream.avro.container.file import ContainerFile
from alertstream.avro.registry import schemas_from
from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import pack
from alertstream.kafka.connection import Connection
from alertstream.kafka.messages import Message
from alertstream.kafka.producer import producer
from alertstream.kafka.topics import Topic
from alertstream.reading.decoder import AlertDecoder, ReceivedAlert
from alertstream.sending.delivery import VisitSent
from alertstream.sending.sender import SendOptions, send
from alertstream.sending.visits.encoders import container_encoder, message_encoders
from alertstream.sending.visits.schedule import Cadence, Clock, bursts, files_of, visits_in


def test_every_record_arrives_unchanged(kafka: str, topic: str, visits: Path) -> None:
    sent = run("send", kafka, topic, "--data", visits, "--interval", 0, "--format", "json")
    assert sent.status == 0, sent.err
    files = sorted(visits.iterdir())
    assert [each["file"] for each in sent.objects] == [str(path) for path in files]
    assert [each["visit"] for each in sent.objects] == [path.stem.split("-")[1] for path in files]
    expected = {pack(1000, body) for path in files for body in bodies_in(path)}
    messages = [message.value for message in raw_kafka.read(kafka, topic)]
    assert len(messages) == len(expected) == 360
    assert set(messages) == expected
    for each, path in zip(sent.objects, files, strict=True):
        assert each["alerts"] == each["planned"] == each["acknowledged"] == 120
        assert each["failed"] == each["late"] == 0
        assert each["bytes"] == sum(5 + len(body) for body in bodies_in(path))
        assert each["alerts_per_second"] == pytest.approx(120 / each["seconds"], rel=0.05)
    assert "360 of 360 alerts acknowledged" in sent.err


def test_sends_the_samples_of_the_package_unless_told_otherwise(kafka: str, topic: str) -> None:
    sent = run("send", kafka, topic, "--interval", 0, "--limit", 3, "--repeat", 2)
    assert sent.status == 0, sent.err
    assert len(sent.lines) == 8
    assert "visit 2026112401760: 3 of 3 alerts acknowledged" in sent.lines[0]
    assert len(raw_kafka.read(kafka, topic)) == 24


@pytest.mark.parametrize("version", ["3.0", "7.4", "9.0", "10.0", "11.0"])
def test_schema_id_follows_from_the_version(kafka: str, topic: str, version: str) -> None:
    path = samples.sample_file(version)
    assert run("send", kafka, topic, "--data", path, "--interval", 0).status == 0
    (message,) = raw_kafka.read(kafka, topic)
    assert message.value == pack(schema_id(version), body_of(sample_alert(version), version))


def test_makes_the_topic_as_told(kafka: str, topic: str, visits: Path) -> None:
    run("send", kafka, topic, "--data", visits, "--interval", 0, "--partitions", 7)
    described = raw_kafka.describe(kafka, topic)
    assert described is not None
    assert len(described["partitions"]) == 7
    used = {message.partition for message in raw_kafka.read(kafka, topic)}
    assert used == set(range(7))


def test_alert_of_ten_megabytes(kafka: str, topic: str, tmp_path: Path) -> None:
    alert = sample_alert("10.0") | {"cutoutScience": b"SIMPLE  =" + bytes(9_900_000)}
    path = write_container(tmp_path / "big.avro", official_schema("10.0"), [alert] * 3)
    sent = run("send", kafka, topic, "--data", path, "--interval", 0)
    assert sent.status == 0, sent.err
    assert len(raw_kafka.read(kafka, topic)) == 3


def test_alert_that_the_topic_does_not_take(kafka: str, topic: str, tmp_path: Path) -> None:
    raw_kafka.make(kafka, topic, **{"max.message.bytes": "300000"})
    alert = sample_alert("10.0")
    alerts = [alert, alert | {"cutoutScience": bytes(400_000)}, alert]
    path = write_container(tmp_path / "a.avro", official_schema("10.0"), alerts, sync_interval=1)
    sent = run("send", kafka, topic, "--data", path, "--interval", 0, "--format", "json")
    assert sent.status == 1
    (visit,) = sent.objects
    assert (visit["planned"], visit["acknowledged"], visit["failed"]) == (3, 2, 1)
    assert "error: " in sent.err
    assert "alerts not acknowledged: 1 (a message is larger than its topic allows)" in sent.err
    assert "raise the topic's max.message.bytes" in sent.err
    assert len(raw_kafka.read(kafka, topic)) == visit["acknowledged"]


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def test_compression(kafka: str, topic: str, compression: str) -> None:
    path = samples.sample_file("10.0")
    sent = run("send", kafka, topic, "--data", path, "--compression", compression, "--interval", 0)
    assert sent.status == 0, sent.err
    assert len(raw_kafka.read(kafka, topic)) == 1


@pytest.mark.parametrize("codec", ["deflate", "zstandard"])
def test_compressed_file_with_several_records_a_block(
    kafka: str, topic: str, codec: str, tmp_path: Path
) -> None:
    alerts = [sample_alert("10.0") | {"diaSourceId": number} for number in range(50)]
    path = write_container(tmp_path / "a.avro", official_schema("10.0"), alerts, codec=codec)
    assert run("send", kafka, topic, "--data", path, "--interval", 0).status == 0
    expected = {pack(1000, body_of(alert, "10.0")) for alert in alerts}
    assert {message.value for message in raw_kafka.read(kafka, topic)} == expected


def test_bursts_start_at_multiples_of_the_interval(kafka: str, topic: str, visits: Path) -> None:
    data = [each for path in sorted(visits.iterdir())[:2] for each in ("--data", path)]
    sent = run("send", kafka, topic, *data, "--interval", 2, "--limit", 1)
    assert sent.status == 0, sent.err
    times = sorted(message.timestamp for message in raw_kafka.read(kafka, topic))
    assert [time % 2000 < 1000 for time in times] == [True] * 2
    assert round((times[1] - times[0]) / 2000) == 1


def test_burst_that_outlasts_the_interval_is_late(kafka: str, topic: str, visits: Path) -> None:
    one = sorted(visits.iterdir())[0]
    how = ("--interval", 0.001, "--no-align", "--format", "json")
    (visit,) = run("send", kafka, topic, "--data", one, *how).objects
    assert 0 < visit["late"] <= 120


@pytest.mark.parametrize("repeat", [0, 1])
def test_ctrl_c_between_bursts_ends_with_an_account(
    kafka: str, topic: str, visits: Path, repeat: int
) -> None:
    how = ("--interval", 3600, "--no-align", "--repeat", repeat)
    process = start("send", kafka, topic, "--data", visits, *how)
    until(lambda: raw_kafka.describe(kafka, topic) and len(raw_kafka.read(kafka, topic)) == 120,
          "the first visit is there")  # fmt: skip
    ended = stop(process)
    assert ended.status == repeat
    assert "120 of 120 alerts acknowledged" in ended.err
    unsent = "error: interrupted: 2 of 3 visits were not sent"
    assert (unsent in ended.err) == bool(repeat)


def test_schema_without_a_version_is_kept(kafka: str, topic: str, tmp_path: Path) -> None:
    own = {"type": "record", "name": "mine.alert", "fields": [{"name": "n", "type": "long"}]}
    path = write_container(tmp_path / "mine.avro", own, [{"n": 1}, {"n": 2}])
    refused = run("send", kafka, topic, "--data", path, "--interval", 0)
    assert refused.status == 1
    assert refused.err.startswith("error: no schema id follows from the name mine.alert")
    assert "--schemas" in refused.err
    folder = tmp_path / "schemas"
    sent = run("send", kafka, topic, "--data", path, "--interval", 0, "--schemas", folder)
    assert sent.status == 0, sent.err
    (kept,) = folder.iterdir()
    number = int(kept.stem)
    assert f"mine.alert is kept as schema id {number} in {folder}" in sent.err
    values = {message.value for message in raw_kafka.read(kafka, topic)}
    assert values == {pack(number, b"\2"), pack(number, b"\4")}
    printed = run("print", kafka, topic, "--schemas", folder, "--format", "json", "--exit-on-eof")
    assert {each["alert"]["n"] for each in printed.objects} == {1, 2}


def test_version_in_a_name_is_enough(kafka: str, topic: str, tmp_path: Path) -> None:
    new = {
        "type": "record",
        "name": "lsst.v12_3.alert",
        "fields": [{"name": "diaSourceId", "type": "long"}],
    }
    path = write_container(tmp_path / "new.avro", new, [{"diaSourceId": 5}])
    folder = tmp_path / "schemas"
    sent = run("send", kafka, topic, "--data", path, "--interval", 0, "--schemas", folder)
    assert sent.status == 0, sent.err
    assert (folder / "lsst.v12_3.alert.avsc").exists()
    (message,) = raw_kafka.read(kafka, topic)
    assert message.value == pack(1203, b"\x0a")


def test_schema_that_contradicts_its_version(kafka: str, topic: str, tmp_path: Path) -> None:
    false = {
        "type": "record",
        "name": "lsst.v10_0.alert",
        "fields": [{"name": "diaSourceId", "type": "long"}],
    }
    path = write_container(tmp_path / "false.avro", false, [{"diaSourceId": 5}])
    sent = run("send", kafka, topic, "--data", path, "--interval", 0)
    assert sent.status == 1
    assert "the schema lsst.v10_0.alert differs from the one known as id 1000" in sent.err


def test_ztf_files_are_sent_as_ztf_does(kafka: str, topic: str, tmp_path: Path) -> None:
    schema = {
        "type": "record",
        "name": "ztf.alert",
        "fields": [
            {"name": "objectId", "type": "string"},
            {
                "name": "candidate",
                "type": {
                    "type": "record",
                    "name": "ztf.candidate",
                    "fields": [{"name": "magpsf", "type": "float"}],
                },
            },
        ],
    }
    alert = {"objectId": "ZTF19acihgng", "candidate": {"magpsf": 18.5}}
    path = write_container(tmp_path / "ztf.avro", schema, [alert])
    assert run("send", kafka, topic, "--data", path, "--interval", 0).status == 0
    (message,) = raw_kafka.read(kafka, topic)
    assert list(fastavro.reader(BytesIO(message.value))) == [alert]
    with ContainerFile(path) as container:
        assert message.value == b"".join(container_encoder(container.schema)(bodies_in(path)[0]))


def test_missing_broker() -> None:
    begin = time.monotonic()
    sent = run("send", "127.0.0.1:1", "x", "--interval", 0)
    assert time.monotonic() - begin < 10
    assert (sent.status, sent.out) == (1, "")
    assert sent.err == (
        "error: Kafka cannot be reached (Connection refused) · 127.0.0.1:1 · check the address and "
        "try again, or start a local Kafka: alertstream broker\n"
    )


def test_no_data(kafka: str, topic: str, tmp_path: Path) -> None:
    for path, what in (
        (tmp_path / "none", "there is no such file or folder"),
        (tmp_path, "the folder has no .avro files"),
    ):
        sent = run("send", kafka, topic, "--data", path)
        assert (sent.status, sent.out) == (1, "")
        assert sent.err.startswith(f"error: {what} · {path} · ")
        assert sent.err.count("\n") == 1
    assert raw_kafka.describe(kafka, topic) is None


def test_file_that_is_no_avro_stops_everything_before_the_first_burst(
    kafka: str, topic: str, visits: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.avro").write_bytes(sorted(visits.iterdir())[0].read_bytes())
    (tmp_path / "b.avro").write_text("no Avro")
    sent = run("send", kafka, topic, "--data", tmp_path, "--interval", 0)
    assert sent.status == 1
    assert sent.err.startswith(
        f"error: not an Avro container file: it is plain text · {tmp_path / 'b.avro'}"
    )
    assert raw_kafka.describe(kafka, topic) is None


def test_damaged_file_is_sent_up_to_the_damage(
    kafka: str, topic: str, visits: Path, tmp_path: Path
) -> None:
    first, second = sorted(visits.iterdir())[:2]
    content = first.read_bytes()
    (tmp_path / "a.avro").write_bytes(content[: len(content) // 2])
    # Not every name is text.
    (tmp_path / os.fsdecode(b"b\xff.avro")).write_bytes(second.read_bytes())
    sent = run("send", kafka, topic, "--data", tmp_path, "--interval", 0, "--format", "json")
    assert sent.status == 1
    damaged, whole = sent.objects
    assert 40 < damaged["alerts"] < 80
    assert whole["alerts"] == 120
    assert f"the file is damaged after record {damaged['alerts']}" in sent.err
    arrived = {message.value for message in raw_kafka.read(kafka, topic)}
    expected = [*bodies_in(first)[: damaged["alerts"]], *bodies_in(second)]
    assert arrived == {pack(1000, body) for body in expected}


def test_topic_that_cannot_be(kafka: str) -> None:
    sent = run("send", kafka, "no topic", "--interval", 0)
    assert sent.status == 1
    assert sent.err.startswith("error: the topic no topic cannot be made (")
    many = run("send", kafka, "copies", "--interval", 0, "--replication", 3)
    assert many.status == 1
    assert "replication" in many.err


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--interval", "soon"], "'--interval'"),
        (["--interval", "-1"], "'--interval'"),
        (["--limit", "-1"], "'--limit'"),
        (["--partitions", "0"], "'--partitions'"),
        (["--compression", "zip"], "'--compression': 'zip' is not one of 'none', 'gzip'"),
        (["--format", "yaml"], "'--format': 'yaml' is not one of 'text', 'json'"),
        (["--schema-id", "-3"], "'--schema-id'"),
        (["--colour", "red"], "No such option"),
        (["--security-protocol", "TLS"], "'TLS' is not one of 'plaintext'"),
        (["--security-protocol", "SASL_SSL"], "needs a user name"),
        (["--password-file", "/nonexistent"], "the password file cannot be read"),
    ],
)
def test_wrong_options(kafka: str, topic: str, options: list[str], what: str) -> None:
    sent = run("send", kafka, topic, *options)
    assert (sent.status, sent.out) == (2, "")
    assert sent.err.startswith("error: ")
    assert what in sent.err
    assert sent.err.count("\n") == 1


@pytest.mark.parametrize("broker", ["localhost:port", ":9092", "localhost:99999"])
def test_address_that_is_none(broker: str) -> None:
    sent = run("send", broker, "x")
    assert sent.status == 2
    assert "as in localhost:9092" in sent.err


def test_visit_behind_a_refused_alert_is_sent(kafka: str, topic: str, tmp_path: Path) -> None:
    raw_kafka.make(kafka, topic, **{"max.message.bytes": "300000"})
    alert = sample_alert("10.0")
    # Compressed, its size is not known before Kafka refuses it.
    alerts = [alert, alert | {"cutoutScience": random.Random(1).randbytes(400_000)}]
    write_container(tmp_path / "a.avro", official_schema("10.0"), alerts, sync_interval=1)
    write_container(tmp_path / "b.avro", official_schema("10.0"), [alert] * 5, sync_interval=1)
    how = ("--interval", 0, "--compression", "lz4", "--format", "json")
    sent = run("send", kafka, topic, "--data", tmp_path, *how)
    assert sent.status == 1
    refused, behind = sent.objects
    assert (refused["planned"], refused["failed"]) == (2, 1)
    assert (behind["planned"], behind["acknowledged"]) == (5, 5)
    assert "(a message is larger than its topic allows)" in sent.err


def sized_alerts(tmp_path: Path, large: int, count: int = 200) -> Path:
    """A file of small alerts, one of which has many bytes that cannot be compressed."""
    alert = sample_alert("10.0") | {"cutoutScience": None, "cutoutTemplate": None}
    alerts = [alert | {"diaSourceId": number, "cutoutDifference": None} for number in range(count)]
    alerts[count // 4] |= {"cutoutDifference": random.Random(1).randbytes(large)}
    path = tmp_path / "a.avro"
    return write_container(path, official_schema("10.0"), alerts, sync_interval=1)


@pytest.mark.hostile("8: one message too large, with --compression")
def test_only_the_alert_that_is_too_large_fails(kafka: str, topic: str, tmp_path: Path) -> None:
    raw_kafka.make(kafka, topic, **{"max.message.bytes": "50000"})
    path = sized_alerts(tmp_path, 60_000)
    how = ("--interval", 0, "--format", "json", "--compression", "zstd")
    sent = run("send", kafka, topic, "--data", path, *how)
    assert sent.status == 1
    (visit,) = sent.objects
    assert (visit["planned"], visit["acknowledged"], visit["failed"]) == (200, 199, 1), sent.err
    assert len(raw_kafka.read(kafka, topic)) == 199


def send_in_process(
    kafka: str, topic: str, paths: list[Path], clock: Clock, compression: str = "none"
) -> VisitSent:
    """Send without knowing what the topic takes."""
    visits, stopped = visits_in(paths), asyncio.Event()

    async def send_all() -> VisitSent:
        encoders = await message_encoders(files_of(visits), schemas_from((), None, None))
        options = SendOptions(Topic(topic, 1))
        due = bursts(visits, Cadence(0), clock, stopped)
        async with producer(Connection(kafka), compression=compression) as writing:
            return await send(writing, options, encoders, due, clock=clock, stop=stopped)

    return asyncio.run(send_all())


class SteppedClock(Clock):
    """It is set forward by ten minutes."""

    steps = 0

    def now(self) -> float:
        self.steps += 1
        return super().now() + 600 * (self.steps > 50)


@pytest.mark.hostile("7: a clock that is set while alerts are sent")
def test_clock_that_is_set_fails_nothing(kafka: str, topic: str, tmp_path: Path) -> None:
    raw_kafka.make(kafka, topic)
    sent = send_in_process(kafka, topic, [sized_alerts(tmp_path, 600_000)], SteppedClock())
    assert (sent.planned, sent.acknowledged, sent.failed) == (200, 200, 0), sent.error
    assert sent.seconds < 60


@pytest.mark.hostile("8: one message too large, and no right to know the topic's limit")
@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_limit_that_is_not_known(kafka: str, topic: str, tmp_path: Path, compression: str) -> None:
    raw_kafka.make(kafka, topic, **{"max.message.bytes": "50000"})
    path = sized_alerts(tmp_path, 60_000)
    sent = send_in_process(kafka, topic, [path] * 2, Clock(), compression)
    assert (sent.planned, sent.acknowledged, sent.failed) == (400, 398, 2), sent.error
    found = [fastavro.schemaless_reader(BytesIO(message.value[5:]), official_schema("10.0"))
             for message in raw_kafka.read(kafka, topic)]  # fmt: skip
    assert [each["diaSourceId"] for each in found] == [n for n in range(200) if n != 50] * 2


@pytest.mark.slow
def test_arrival_by_detectors_and_its_replay(
    kafka: str, topic: str, visits: Path, tmp_path: Path
) -> None:
    how = ("--interval", 1, "--arrival", "detectors", "--now", "--format", "json")
    sent = run("send", kafka, topic, "--data", visits, *how)
    assert sent.status == 0, sent.err
    names = sorted(path.stem.split("-")[1] for path in visits.iterdir())
    assert sorted(each["visit"] for each in sent.objects) == names
    assert all(each["planned"] == each["acknowledged"] == 120 for each in sent.objects)
    messages = raw_kafka.read(kafka, topic)
    sizes = {len(message.value) for message in messages}
    assert len(messages) == 360
    assert sizes == {5 + len(body) for path in visits.iterdir() for body in bodies_in(path)}
    decoder = AlertDecoder(Schemas())
    by_visit: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for message in messages:
        assert message.headers == (("producer_timestamp", b"%d" % message.timestamp),)
        alert = decoder.decode(Message(topic, 0, 0, 0, None, message.value))
        assert isinstance(alert, ReceivedAlert)
        by_visit[str(alert.visit)].append((message.timestamp / 1000, alert.shutter))
    for times in by_visit.values():
        shutters = [shutter for _, shutter in times]
        # It closes at the visit's start, at a full second, and the detectors follow.
        assert shutters == pytest.approx([round(shutters[0])] * 120, abs=1e-3)
        assert 0.5 < max(sent for sent, _ in times) - min(sent for sent, _ in times) < 5
    first, second = (by_visit[name] for name in names[:2])
    assert max(sent for sent, _ in first) > min(sent for sent, _ in second)

    path, again = tmp_path / "night.avro", f"{topic}-again"
    assert run("print", kafka, topic, "--exit-on-eof", "--save", path).status == 0
    replayed = run("send", kafka, again, "--replay", path, "--speed", 2, "--format", "json")
    assert replayed.status == 0, replayed.err
    assert sorted(each["visit"] for each in replayed.objects) == names
    came = raw_kafka.read(kafka, again)
    key = lambda message: (message.partition, message.value)  # noqa: E731
    pairs = list(zip(sorted(messages, key=key), sorted(came, key=key), strict=True))
    assert all(a.value == b.value and a.headers == b.headers for a, b in pairs)
    begins = [b.timestamp - a.timestamp / 2 for a, b in pairs]
    assert max(begins) - min(begins) < 1000


def test_recording_that_goes_to_fewer_partitions(kafka: str, topic: str, tmp_path: Path) -> None:
    raw_kafka.make(kafka, topic, partitions=3)
    value = pack(1000, body_of(sample_alert("10.0"), "10.0"))
    headers = [("producer_timestamp", b"1.5"), ("empty", b"")]
    raw_kafka.write(kafka, topic, [value], key=b"k", partition=2, headers=headers)
    path, again = tmp_path / "night.avro", f"{topic}-again"
    assert run("print", kafka, topic, "--exit-on-eof", "--save", path).status == 0
    raw_kafka.make(kafka, again, partitions=2)
    sent = run("send", kafka, again, "--replay", path, "--partitions", 5)
    assert sent.status == 0
    assert "recorded from 3 partitions: messages go to one of 2" in sent.err
    assert "is there, with 2 partitions: --partitions has no effect" in sent.err
    (message,) = raw_kafka.read(kafka, again)
    assert (message.partition, message.key, message.value) == (0, b"k", value)
    assert message.headers == tuple(headers)
    burst = run("send", kafka, again, "--data", path, "--interval", 0)
    assert burst.status == 0


@pytest.mark.parametrize(
    ("options", "status", "what"),
    [
        (["--replay", "nowhere.avro"], 1, "the file cannot be read"),
        (["--replay", samples.sample_file("10.0")], 1, "does not say when its alerts came"),
        (["--replay", "x", "--interval", 3], 2, "--interval has no effect with --replay"),
        (["--speed", 3], 2, "--speed has no effect with --data"),
        (["--arrival", "detectors", "--interval", 0], 2, "needs an interval"),
        (["--arrival", "detectors", "--workers", 2], 2, "--workers has no effect"),
    ],
)
def test_wrong_replay_and_arrival(
    kafka: str, topic: str, options: list[object], status: int, what: str
) -> None:
    sent = run("send", kafka, topic, *options)
    assert (sent.status, sent.out) == (status, "")
    assert what in sent.err
    assert sent.err.count("\n") == 1
