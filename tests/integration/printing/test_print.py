"""``alertstream print``: every alert that is asked for, as a person or a program can read it."""

from __future__ import annotations

import base64
import io
import json
import math
import signal
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import pytest
from astropy.io import fits
from tests.support import raw_kafka, samples
from tests.support.commands import run, send_visits, start, stop, until
from tests.support.samples import body_of, official_schema, sample_alert, schema_id, write_container
from tests.support.ztf import ztf_alert

from alertstream.avro.wire import pack
from alertstream.sending.visits.encoders import container_encoder


def jsonable(value: Any) -> Any:
    """What strict JSON can hold of a value that fastavro has read."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    return [jsonable(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def fresh(kafka: str, topic: str, visits: Path) -> str:
    """A topic of a test's own with 120 alerts."""
    path = sorted(visits.iterdir())[0]
    send_visits(kafka, topic, path)
    return topic


def test_json_has_the_values_that_the_file_has(kafka: str, topic: str, tmp_path: Path) -> None:
    versions = ["3.0", "7.4", "10.0", "11.0"]
    for version in versions:
        path = samples.sample_file(version)
        send_visits(kafka, topic, path)
    printed = run("print", kafka, topic, "--format", "json", "--exit-on-eof", "--cutouts")
    assert printed.status == 0, printed.err
    messages = {(m.partition, m.offset): m for m in raw_kafka.read(kafka, topic)}
    assert len(printed.objects) == len(versions) == len(messages)
    for each in printed.objects:
        message = messages.pop((each["partition"], each["offset"]))
        assert each["topic"] == topic
        assert each["timestamp"] == message.timestamp
        version = next(v for v in versions if schema_id(v) == each["schema_id"])
        assert each["alert"] == jsonable(sample_alert(version))
        assert message.value[5:] == body_of(sample_alert(version), version)


def test_json_is_strict_and_keeps_64_bits(kafka: str, topic: str, tmp_path: Path) -> None:
    alert = sample_alert("10.0")
    number = 2**63 - 5
    alert["diaSource"] |= {"snr": math.nan, "psfFlux": -math.inf, "diaSourceId": number}
    alert["cutoutScience"] = bytes(34560)
    alert["diaSource"]["time_processed"] = datetime(2026, 11, 24, 3, 4, 5, 678901, UTC)
    path = write_container(tmp_path / "a.avro", official_schema("10.0"), [alert])
    send_visits(kafka, topic, path)
    (each,) = run("print", kafka, topic, "--format", "json", "--exit-on-eof").objects
    source = each["alert"]["diaSource"]
    assert source["snr"] is source["psfFlux"] is None
    assert source["diaSourceId"] == number
    assert each["alert"]["cutoutScience"] == "<34560 bytes>"


def test_chosen_fields(kafka: str, stream: str) -> None:
    fields = "diaSourceId, diaSource.band,magnitude,prvDiaSources.visit,diaSource.psFlux"
    how = ("--fields", fields, "--exit-on-eof")
    printed = run("print", kafka, stream, *how, "--format", "json")
    assert printed.status == 0
    assert len(printed.objects) == 120
    whole = run("print", kafka, stream, "--exit-on-eof", "--format", "json").objects
    alerts = {each["alert"]["diaSourceId"]: each["alert"] for each in whole}
    for each in (line["alert"] for line in printed.objects):
        assert list(each) == [name.strip() for name in fields.split(",")]
        alert = alerts[each["diaSourceId"]]
        assert each["diaSource.band"] == alert["diaSource"]["band"]
        flux = alert["diaSource"]["psfFlux"]
        if flux is not None and flux > 0:
            assert each["magnitude"] == pytest.approx(31.4 - 2.5 * math.log10(flux))
        else:
            assert each["magnitude"] is None
        earlier = alert["prvDiaSources"]
        assert each["prvDiaSources.visit"] == (earlier and [past["visit"] for past in earlier])
        assert each["diaSource.psFlux"] is None
    text = run("print", kafka, stream, "--fields", "diaSource.band", "--exit-on-eof")
    band = whole[0]["alert"]["diaSource"]["band"]
    assert text.lines == [f"diaSource.band={band}"] * 120


def degrees(sixtieths: str) -> float:
    whole, minutes, seconds = sixtieths.split(":")
    sign = -1 if whole.startswith("-") else 1
    return sign * (abs(int(whole)) + int(minutes) / 60 + float(seconds) / 3600)


def test_text_is_made_for_reading(kafka: str, stream: str, visits: Path) -> None:
    printed = run("print", kafka, stream, "--exit-on-eof")
    assert printed.status == 0
    assert len(printed.lines) == 121
    assert printed.err == "120 read = 120 printed + 0 skipped + 0 undecodable\n"
    with sorted(visits.iterdir())[0].open("rb") as file:
        alerts = {alert["diaSourceId"]: alert for alert in fastavro.reader(file)}
    for line in printed.lines[1:]:
        shown = line.split()
        alert = alerts.pop(int(shown[0]))
        source = alert["diaSource"]
        linked = source["diaObjectId"] or source["ssObjectId"]
        assert shown[1] == str(linked)
        assert shown[2] == source["band"]
        flux, error = source["psfFlux"], source["psfFluxErr"]
        *bright, science = shown[3 : shown.index("2026-11-25") - 1]
        if source["scienceFlux"] > 0:
            total = 31.4 - 2.5 * math.log10(source["scienceFlux"])
            assert float(science) == pytest.approx(total, abs=6e-4)
        if flux is None or math.isnan(flux):
            assert bright == ["-"]
        elif flux > 0:
            assert float(bright[0]) == pytest.approx(31.4 - 2.5 * math.log10(flux), abs=6e-4)
            assert float(bright[2]) == pytest.approx(1.085736 * error / flux, abs=6e-4)
        else:
            assert bright == [f"{flux:+.0f}", "±", f"{error:.0f}", "nJy"]
        snr = "-" if source["snr"] is None else f"{source['snr']:.1f}"
        rest = shown[4 + len(bright) :]
        assert rest[:5] == [snr, "2026-11-25", "07:04:00", "61369.29487", "TAI"]
        assert degrees(rest[5]) * 15 == pytest.approx(source["ra"], abs=1e-5)
        assert degrees(rest[6]) == pytest.approx(source["dec"], abs=1e-5)
        assert float(rest[7]) == pytest.approx(source["ra"], abs=1e-5)
        assert float(rest[8]) == pytest.approx(source["dec"], abs=1e-5)
        assert int(rest[9]) == len(alert["prvDiaSources"] or ())
    assert not alerts


def test_every_nth(kafka: str, stream: str) -> None:
    everything = run("print", kafka, stream, "--exit-on-eof", "--format", "json").objects
    printed = run("print", kafka, stream, 7, "--exit-on-eof", "--format", "json")
    assert printed.status == 0
    assert len(printed.objects) == math.ceil(120 / 7)
    places = {(each["partition"], each["offset"]) for each in everything}
    assert {(each["partition"], each["offset"]) for each in printed.objects} < places
    assert printed.err == "120 read = 18 printed + 102 skipped + 0 undecodable\n"


def test_stops_after_n(kafka: str, stream: str) -> None:
    printed = run("print", kafka, stream, "-n", 5)
    assert printed.status == 0
    assert len(printed.lines) == 6


def test_group_goes_on_after_what_was_printed(kafka: str, stream: str, topic: str) -> None:
    how = ("--group", f"group-{topic}", "--format", "json")
    first = run("print", kafka, stream, "-n", 50, *how)
    assert sum(raw_kafka.committed(kafka, f"group-{topic}").values()) == 50
    second = run("print", kafka, stream, "--exit-on-eof", "--from", "earliest", *how)
    assert "continues where it stopped" in second.err
    places = Counter((e["partition"], e["offset"]) for e in first.objects + second.objects)
    assert len(places) == 120
    assert set(places.values()) == {1}
    again = run("print", kafka, stream, "--exit-on-eof", *how)
    assert (again.status, again.out) == (0, "")


def test_from_latest_and_from_a_time(kafka: str, fresh: str, visits: Path) -> None:
    latest = run("print", kafka, fresh, "--from", "latest", "--exit-on-eof", "--format", "json")
    assert (latest.status, latest.out) == (0, "")
    times = [message.timestamp for message in raw_kafka.read(kafka, fresh)]
    between = datetime.fromtimestamp((max(times) + 1) / 1000, UTC).isoformat()
    path = sorted(visits.iterdir())[1]
    send_visits(kafka, fresh, path)
    how = ("--exit-on-eof", "--format", "json", "--from")
    assert len(run("print", kafka, fresh, *how, between).objects) == 120
    assert len(run("print", kafka, fresh, *how, "2001-01-01").objects) == 240
    none = run("print", kafka, fresh, *how, "2099-01-01")
    assert (none.status, none.out) == (0, "")
    assert "nothing was sent to Kafka in this time" in none.err
    assert "--where 'mjd >= 87704.00000'" in none.err


@pytest.mark.parametrize("origin", ["latest", "2099-01-01"])
def test_group_knows_where_it_began_before_anything_came(
    kafka: str, fresh: str, visits: Path, origin: str
) -> None:
    how = ("--group", f"group-{fresh}", "--from", origin, "--format", "json")
    killed = start("print", kafka, fresh, *how)
    until(lambda: len(raw_kafka.committed(kafka, f"group-{fresh}")) == 4, "its start is kept")
    stop(killed, signal.SIGKILL)
    raw_kafka.dismiss(kafka, f"group-{fresh}")
    path = sorted(visits.iterdir())[1]
    send_visits(kafka, fresh, path)
    printed = run("print", kafka, fresh, *how, "--exit-on-eof")
    assert printed.status == 0
    assert len(printed.objects) == 120


def test_follows_until_a_signal(kafka: str, fresh: str, visits: Path) -> None:
    how = ("--format", "json", "--group", f"group-{fresh}")
    process = start("print", kafka, fresh, *how)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(120)]
    path = sorted(visits.iterdir())[1]
    send_visits(kafka, fresh, path)
    lines += [process.stdout.readline() for _ in range(120)]
    until(lambda: sum(raw_kafka.committed(kafka, f"group-{fresh}").values()) == 240, "commit")
    ended = stop(process)
    assert (ended.status, ended.out) == (0, "")
    assert "240 read = 240 printed" in ended.err
    assert len({json.loads(line)["alert"]["diaSourceId"] for line in lines}) == 240


def test_reader_that_leaves_early_is_no_error(kafka: str, stream: str) -> None:
    process = start("print", kafka, stream, "--format", "json")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    assert process.wait(30) == 0
    assert process.stderr is not None
    with process.stderr as err:
        assert err.read() == ""


@pytest.mark.parametrize("option", ["--stampDir", "--stamp-dir"])
def test_cutouts_become_files(
    kafka: str, stream: str, visits: Path, tmp_path: Path, option: str
) -> None:
    folder = tmp_path / "new" / "stamps"
    printed = run("print", kafka, stream, 10, option, folder, "--exit-on-eof")
    assert printed.status == 0
    assert "12 printed" in printed.err
    assert "36 cutouts saved" in printed.err
    with sorted(visits.iterdir())[0].open("rb") as file:
        alerts = {alert["diaSourceId"]: alert for alert in fastavro.reader(file)}
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 36
    for line in printed.lines[1:]:
        number = int(line.split()[0])
        for name in ("Difference", "Science", "Template"):
            content = (folder / f"{number}-{name}.fits").read_bytes()
            assert content == alerts[number][f"cutout{name}"]
            with fits.open(io.BytesIO(content)) as file:
                assert file[0].data.shape == (21, 21)


def test_ztf_alert_and_its_cutouts_stay_in_their_folder(
    kafka: str, topic: str, tmp_path: Path
) -> None:
    names = {
        "Science": "candid1_targ_sci.fits.gz",
        "Template": "../../outside.fits.gz",
        "Difference": "/etc/.hidden",
    }
    alert, message = ztf_alert(**names)
    raw_kafka.make(kafka, topic)
    raw_kafka.write(kafka, topic, [message])
    folder = tmp_path / "in" / "stamps"
    printed = run("print", kafka, topic, "--exit-on-eof", "--stampDir", folder)
    assert printed.status == 0, printed.err
    shown = printed.lines[1].split()
    assert shown[:6] == ["1060135832015015002", "ZTF19acihgng", "r", "18.632", "±", "0.135"]
    assert shown[8:12] == ["2019-11-27", "03:15:51", "58814.13601", "UTC"]
    files = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files) == 3
    assert all(path.parts[:2] == ("in", "stamps") for path in files)
    saved = (folder / "candid1_targ_sci.fits.gz").read_bytes()
    assert saved == alert["cutoutScience"]["stampData"]
    (each,) = run("print", kafka, topic, "--exit-on-eof", "--format", "json").objects
    assert each["schema_id"] is None
    assert each["alert"]["candidate"]["candid"] == 1060135832015015002


def test_garbage_is_counted_and_the_rest_is_printed(kafka: str, fresh: str) -> None:
    raw_kafka.write(kafka, fresh, [b"garbage", pack(4242, b"?"), b'{"title": "GRB"}'])
    of_fink = body_of(sample_alert("10.0"), "10.0")
    raw_kafka.write(kafka, fresh, [of_fink], key=json.dumps(official_schema("10.0")).encode())
    printed = run("print", kafka, fresh, "--exit-on-eof", "--format", "json")
    assert printed.status == 3
    wrong = [each for each in printed.objects if each["alert"] is None]
    assert len(printed.objects) == 124
    assert sorted((each["undecodable"], each["schema_id"], each["size"]) for each in wrong) == [
        ("JSON, not Avro", None, 16),
        ("plain text, not Avro", None, 7),
        ("unknown schema id 4242", 4242, 6),
    ]
    assert {(each["topic"], each["origin"]) for each in wrong} == {(fresh, None)}
    assert "124 read = 121 printed + 0 skipped + 3 undecodable" in printed.err
    assert printed.err.count("undecodable message: plain text, not Avro") == 1
    assert printed.err.count("undecodable message: unknown schema id 4242") == 1
    first = next(each["alert"]["diaSourceId"] for each in printed.objects if each["alert"])
    how = ("--where", f"source_id == {first}", "--fields", "band", "--exit-on-eof")
    chosen = run("print", kafka, fresh, *how)
    assert chosen.status == 3
    assert len([line for line in chosen.lines if line.startswith("band=")]) == 1
    assert "124 read = 1 printed + 120 skipped + 3 undecodable\n" in chosen.err


@pytest.fixture
def dead_lettered(kafka: str, topic: str) -> tuple[str, list[bytes]]:
    """A topic with what a filter has dead-lettered, and its messages."""
    body = body_of(sample_alert("10.0"), "10.0")
    messages = [pack(1000, body)[:-20], pack(4242, b"\x1b[2J"), b"", b"\0" + bytes(range(256))]
    for each in (topic, f"{topic}-undecodable"):
        # Kafka removes what is as old as these at any moment, unless it is told not to.
        raw_kafka.make(kafka, each, **{"retention.ms": "-1"})
    raw_kafka.write(kafka, topic, messages, timestamp_ms=1_600_000_000_123)
    name = f"All{topic.split('-')[-1]}"
    how = ("--where", "diaSource.snr > 0", "--output", name, "--exit-on-eof")
    filtered = run("filter", kafka, topic, *how)
    assert filtered.status == 3, filtered.err
    return topic, messages


REASONS = [
    "cut short",
    "unknown schema id 4242",
    "empty message",
    "unknown schema id 66051",
]


def test_undecodable_messages_as_text(kafka: str, dead_lettered: tuple[str, list[bytes]]) -> None:
    topic, messages = dead_lettered
    printed = run("print", kafka, f"{topic}-undecodable", "--exit-on-eof")
    assert printed.status == 3
    assert printed.err.endswith("4 read = 0 printed + 0 skipped + 4 undecodable\n")
    shown = iter(printed.lines[1:])
    identities = [" · schema id 1000", " · schema id 4242", "", " · schema id 66051"]
    known = zip(messages, REASONS, identities, strict=True)
    for offset, (message, reason, identity) in enumerate(known):
        assert next(shown) == (
            f"{topic}-undecodable[0]@{offset}  undecodable: {reason} · from {topic}[0]@{offset}"
            f" of 2020-09-13 12:26:40 UTC · {len(message)} bytes{identity}"
        )
        if message:
            rest = " …" if len(message) > 32 else ""
            assert next(shown) == f"    {message[:32].hex(' ')}{rest}"
    assert next(shown, None) is None


def test_undecodable_messages_as_json(kafka: str, dead_lettered: tuple[str, list[bytes]]) -> None:
    topic, messages = dead_lettered
    how = ("--exit-on-eof", "--format", "json")
    printed = run("print", kafka, f"{topic}-undecodable", *how, "--cutouts")
    assert printed.status == 3
    for offset, (message, each) in enumerate(zip(messages, printed.objects, strict=True)):
        assert base64.b64decode(each.pop("content")) == message
        place = {"partition": 0, "offset": offset, "timestamp": 1_600_000_000_123}
        assert each["origin"] == {"topic": topic, **place}
        assert {name: each[name] for name in place} == place
        assert (each["alert"], each["size"]) == (None, len(message))
    assert [each["undecodable"] for each in printed.objects] == REASONS
    without = run("print", kafka, f"{topic}-undecodable", *how, "-n", 2)
    assert len(without.objects) == 2
    assert all("content" not in each for each in without.objects)


def test_alert_of_odd_types_is_undecodable(kafka: str, topic: str) -> None:
    source = {
        "type": "record",
        "name": "source",
        "fields": [{"name": "psfFlux", "type": {"type": "array", "items": "int"}}],
    }
    fields = [{"name": "diaSource", "type": source}]
    schema = {"type": "record", "name": "lsst.v99_0.alert", "fields": fields}
    raw_kafka.make(kafka, topic)
    raw_kafka.write(kafka, topic, [b"".join(container_encoder(schema)(b"\2\2\0"))])
    printed = run("print", kafka, topic, "--exit-on-eof")
    assert printed.status == 3
    assert "undecodable: fields of unexpected types" in printed.lines[1]
    (each,) = run("print", kafka, topic, "--exit-on-eof", "--format", "json").objects
    assert each["alert"] == {"diaSource": {"psfFlux": [1]}}


def test_nasty_cutout_names_through_kafka(kafka: str, topic: str, tmp_path: Path) -> None:
    names = [("../../x", "/tmp/x", "a\0b"), ("a" * 300, "...", "CON"), ("a/b", "a\\b", "a:b")]
    kinds = ("Science", "Template", "Difference")
    messages = [ztf_alert(**dict(zip(kinds, three, strict=True)))[1] for three in names]
    raw_kafka.make(kafka, topic)
    raw_kafka.write(kafka, topic, messages)
    folder = tmp_path / "in" / "stamps"
    printed = run("print", kafka, topic, "--exit-on-eof", "--stampDir", folder)
    assert printed.status == 0, printed.err
    assert "9 cutouts saved" in printed.err
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files) == 9
    assert {path.parent for path in files} == {folder}


def test_stamp_folder_that_cannot_be(kafka: str, stream: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    printed = run("print", kafka, stream, "--stampDir", tmp_path / "file", "--exit-on-eof")
    assert printed.status == 1
    assert "error: cutouts cannot be written" in printed.err
    assert "choose another --stamp-dir" in printed.err


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (["0"], 2, "INTERVAL"),
        (["often"], 2, "INTERVAL"),
        (["-n", "-1"], 2, "--count"),
        (["--from", "yesterday"], 2, "yesterday is not a valid --from"),
        (["--format", "xml"], 2, "not one of 'text', 'json'"),
        ([], 1, "there is no topic nowhere"),
    ],
)
def test_wrong_arguments(kafka: str, arguments: list[str], status: int, what: str) -> None:
    printed = run("print", kafka, "nowhere", *arguments)
    assert (printed.status, printed.out) == (status, "")
    assert what.lower() in printed.err.lower()
    assert printed.err.count("\n") == 1


def test_missing_broker() -> None:
    printed = run("print", "127.0.0.1:1", "x")
    assert printed.status == 1
    assert printed.err.startswith("error: Kafka cannot be reached (Connection refused)")
