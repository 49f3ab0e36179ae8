"""``alertstream print --save``: what is shown, in files to send again, or to read as a table."""

from __future__ import annotations

import csv
import random
import signal
import time
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet
import pytest
from tests.support import raw_kafka
from tests.support.commands import finish, run, send_visits, start, stop, until
from tests.support.samples import (
    VERSIONS,
    bodies_in,
    official_schema,
    sample_alert,
    sample_file,
    write_container,
)
from tests.support.ztf import ztf_alert

QUIET = ("--fields", "snr", "--exit-on-eof")


def records(path: Path) -> list[Any]:
    with path.open("rb") as file:
        return list(fastavro.reader(file))


@pytest.fixture(scope="module")
def stream(kafka: str, visits: Path) -> str:
    """A topic of one partition, for one order, with two visits of 120 alerts; it is only read."""
    send_visits(kafka, "saved", *sorted(visits.iterdir())[:2], partitions=1)
    return "saved"


@pytest.fixture
def fresh(kafka: str, topic: str, visits: Path) -> str:
    """Such a topic of a test's own."""
    send_visits(kafka, topic, *sorted(visits.iterdir())[:2], partitions=1)
    return topic


def test_all_versions_and_ztf_can_be_sent_again(kafka: str, topic: str, tmp_path: Path) -> None:
    raw_kafka.make(kafka, topic)
    raw_kafka.write(kafka, topic, [ztf_alert(Science="s", Template="t", Difference="d")[1]])
    send_visits(kafka, topic, *map(sample_file, VERSIONS))
    raw_kafka.write(kafka, topic, [b"junk", b""])
    saved = run("print", kafka, topic, "--save", tmp_path / "night.avro", *QUIET)
    assert saved.status == 3
    count = len(VERSIONS) + 1
    assert f"{count + 2} read = {count} printed + 0 skipped + 2 undecodable" in saved.err
    assert f"{count + 2} saved in " in saved.err
    files = sorted(tmp_path.glob("*.avro"))
    assert len(files) == count + 1
    assert tmp_path / "night-lsst.v7_4.alert.avro" in files
    assert records(tmp_path / "night-undecodable.avro") == [b"junk", b""]
    data = [each for path in files for each in ("--data", path)]
    assert run("send", kafka, f"{topic}-again", *data, "--interval", 0).status == 0
    assert raw_kafka.bodies(kafka, f"{topic}-again") == raw_kafka.bodies(kafka, topic)


def test_group_appends_what_it_has_not_seen(
    kafka: str, stream: str, topic: str, tmp_path: Path
) -> None:
    how = ("--save", tmp_path / "night.avro", "--group", f"group-{topic}", *QUIET)
    assert run("print", kafka, stream, *how, "-n", 50).status == 0
    first = bodies_in(tmp_path / "night.avro")
    assert len(first) == 50
    assert run("print", kafka, stream, *how).status == 0
    both = bodies_in(tmp_path / "night.avro")
    assert both[:50] == first
    assert len(set(both)) == len(both) == 240


def test_without_a_group_no_offsets_move(
    kafka: str, stream: str, topic: str, tmp_path: Path
) -> None:
    group = f"group-{topic}"
    assert run("print", kafka, stream, "--group", group, "-n", 10, *QUIET).status == 0
    before = raw_kafka.committed(kafka, group)
    assert run("print", kafka, stream, "--save", tmp_path / "all.avro", *QUIET).status == 0
    assert raw_kafka.committed(kafka, group) == before


@pytest.mark.slow
def test_killed_while_it_saves(kafka: str, fresh: str, visits: Path, tmp_path: Path) -> None:
    path, chance = tmp_path / "night.avro", random.Random(1)
    how = ("--save", path, "--group", f"group-{fresh}", "--format", "json")
    for _ in range(3):
        killed = start("print", kafka, fresh, *how, out=tmp_path / "out")
        until(path.exists, "it saves")
        time.sleep(chance.uniform(0, 0.3))
        stop(killed, signal.SIGKILL)
        send_visits(kafka, fresh, visits)
    ended = run("print", kafka, fresh, *how, "--exit-on-eof")
    assert ended.status == 0, ended.err
    saved = {each["diaSourceId"] for each in records(path)}
    sent = [each for file in visits.iterdir() for each in records(file)]
    assert saved == {each["diaSourceId"] for each in sent}


def test_record_that_was_cut_short_is_removed(kafka: str, stream: str, tmp_path: Path) -> None:
    path = tmp_path / "night.avro"
    assert run("print", kafka, stream, "--save", path, *QUIET, "-n", 10).status == 0
    whole = bodies_in(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)
    again = run("print", kafka, stream, "--save", path, *QUIET, "-n", 10)
    assert again.status == 0
    assert f"removed the file's last record, which was cut short · {path}" in again.err
    assert bodies_in(path) == whole[:9] + whole


@pytest.mark.hostile("4: a bit of a size flips in a saved file, and it is appended to")
def test_damaged_file_is_kept_and_another_begun(kafka: str, stream: str, tmp_path: Path) -> None:
    path, aside = tmp_path / "night.avro", tmp_path / "night.avro.bak"
    assert run("print", kafka, stream, "--save", path, *QUIET, "-n", 10).status == 0
    first = bodies_in(path)[0]
    content = bytearray(path.read_bytes())
    # The last byte of the first block's size says now that there is another.
    content[content.index(first) - 1] ^= 0x80
    path.write_bytes(content)
    again = run("print", kafka, stream, "--save", path, *QUIET, "-n", 3)
    assert again.status == 0
    assert f"renamed to {aside.name}, and a new one begun · {path}" in again.err
    assert aside.read_bytes() == content
    assert len(bodies_in(path)) == 3


def test_one_visit_only(kafka: str, stream: str, tmp_path: Path) -> None:
    path = tmp_path / "visit.avro"
    visit = run("print", kafka, stream, "--fields", "visit", "--format", "json", *QUIET[2:])
    wanted = visit.objects[-1]["alert"]["visit"]
    one = run("print", kafka, stream, "--save", path, "--visit", wanted, *QUIET)
    assert one.status == 0
    assert "240 read = 120 printed + 120 skipped" in one.err
    assert {each["diaSource"]["visit"] for each in records(path)} == {wanted}
    none = run("print", kafka, stream, "--save", tmp_path / "no.avro", "--visit", 1, *QUIET)
    assert none.status == 0
    assert "nothing matched: no file written" in none.err
    assert not (tmp_path / "no.avro").exists()


def test_id_of_a_schema_without_a_version_is_kept(kafka: str, topic: str, tmp_path: Path) -> None:
    schema = official_schema("10.0") | {"name": "packet", "namespace": "elsewhere"}
    data = write_container(tmp_path / "in.avro", schema, [sample_alert("10.0")])
    known = tmp_path / "schemas"
    how = ("--schema-id", 4242, "--schemas", known, "--interval", 0)
    assert run("send", kafka, topic, "--data", data, *how).status == 0
    path = tmp_path / "out.avro"
    saved = run("print", kafka, topic, "--save", path, "--schemas", known, *QUIET)
    assert saved.status == 0, saved.err
    again = run("send", kafka, f"{topic}-again", "--data", path, "--interval", 0)
    assert again.status == 0, again.err
    values = [raw_kafka.read(kafka, each)[0].value for each in (topic, f"{topic}-again")]
    assert values[0] == values[1]


def test_file_that_another_writes_to(kafka: str, stream: str, tmp_path: Path) -> None:
    path, out = tmp_path / "night.avro", tmp_path / "out"
    first = start("print", kafka, stream, "--save", path, "--fields", "snr", out=out)
    until(path.exists, "it saves")
    second = run("print", kafka, stream, "--save", path, *QUIET)
    assert second.status == 1
    assert "error: another process writes to the file" in second.err
    until(lambda: out.read_text().count("\n") == 240, "all is shown")
    assert stop(first).status == 0
    assert len(records(path)) == 240


def junk(path: Path) -> None:
    path.write_bytes(b"not Avro")


def compressed(path: Path) -> None:
    write_container(path, official_schema("10.0"), [], codec="deflate")


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("name", "make", "what"),
    [
        ("night.avro", junk, "not an Avro container file"),
        ("night.avro", compressed, "cannot append to a compressed file"),
        ("night.avro", folder, "the file cannot be read (Is a directory)"),
        ("night.txt", None, "night.txt is not a known kind of file"),
        ("night", None, "night is not a known kind of file"),
    ],
)
def test_file_that_cannot_be(
    kafka: str, topic: str, tmp_path: Path, name: str, make: Any, what: str
) -> None:
    path = tmp_path / name
    if make:
        make(path)
    before = path.read_bytes() if path.is_file() else b""
    ended = run("print", kafka, topic, "--save", path)
    assert ended.status in (1, 2)
    assert ended.err.startswith(f"error: {what}")
    assert ended.err.count("\n") == 1
    assert before == (path.read_bytes() if path.is_file() else b"")


@pytest.mark.parametrize("name", ["night.avro", "night.parquet", "night.html"])
def test_folder_that_cannot_be_written(kafka: str, stream: str, name: str) -> None:
    ended = run("print", kafka, stream, "--save", f"/proc/{name}", *QUIET)
    assert ended.status == 1
    assert "error: the file cannot be written" in ended.err


def test_table_has_the_schemas_types(kafka: str, stream: str, tmp_path: Path) -> None:
    fields = ("source_id", "snr", "band", "diaSource.parentDiaSourceId", "prvDiaSources.psfFlux")
    path = tmp_path / "night.parquet"
    how = ("--fields", ",".join(fields), "--exit-on-eof")
    assert run("print", kafka, stream, "--save", path, *how).status == 0
    table = pyarrow.parquet.read_table(path)
    types = (pa.int64(), pa.float64(), pa.string(), pa.int64(), pa.list_(pa.float32()))
    assert [field.type for field in table.schema] == list(types)
    shown = run("print", kafka, stream, "--format", "json", *how)
    rows = {each["alert"]["source_id"]: each["alert"] for each in shown.objects}
    assert len(rows) == table.num_rows == 240
    for row in table.to_pylist():
        expected = rows[row["source_id"]]
        assert row["band"] == expected["band"]
        assert row["snr"] == pytest.approx(expected["snr"] or float("nan"), nan_ok=True)
        assert row["prvDiaSources.psfFlux"] == pytest.approx(expected["prvDiaSources.psfFlux"])
    assert table.column("diaSource.parentDiaSourceId").null_count == 240


def test_table_is_there_when_it_is_whole(
    kafka: str, stream: str, topic: str, tmp_path: Path
) -> None:
    path, group = tmp_path / "night.parquet", f"group-{topic}"
    how = ("--save", path, "--group", group, "--fields", "snr")
    killed = start("print", kafka, stream, *how)
    assert killed.stdout is not None
    assert killed.stdout.readline()
    stop(killed, signal.SIGKILL)
    raw_kafka.dismiss(kafka, group)
    assert not path.exists()
    assert sum(raw_kafka.committed(kafka, group).values()) == 0
    ended = start("print", kafka, stream, *how)
    assert ended.stdout is not None
    for _ in range(240):
        ended.stdout.readline()
    assert stop(ended).status == 0
    assert pyarrow.parquet.read_table(path).num_rows == 240
    assert sum(raw_kafka.committed(kafka, group).values()) == 240
    assert [each for each in tmp_path.iterdir() if each.suffix == ".part"] == []


@pytest.mark.hostile("9: a group saves a page a second time")
@pytest.mark.slow
def test_page_of_a_group_is_there_before_its_offsets_move(
    kafka: str, fresh: str, visits: Path, tmp_path: Path
) -> None:
    path, group = tmp_path / "night.html", f"group-{fresh}"
    how = ("--save", path, "--group", group, *QUIET)
    killed = start("print", kafka, fresh, "--save", path, "--group", group, "--fields", "snr")
    assert killed.stdout is not None
    assert killed.stdout.readline()
    stop(killed, signal.SIGKILL)
    raw_kafka.dismiss(kafka, group)
    assert not path.exists()
    assert sum(raw_kafka.committed(kafka, group).values()) == 0
    assert run("print", kafka, fresh, *how).err.endswith(f"240 saved in {path}\n")
    assert path.read_text().count("<tr>") == 241
    assert sum(raw_kafka.committed(kafka, group).values()) == 240
    page = path.read_text()
    assert run("print", kafka, fresh, *how).err.endswith("nothing matched: no file written\n")
    send_visits(kafka, fresh, visits)
    further = tmp_path / "night-2.html"
    assert run("print", kafka, fresh, *how).err.endswith(f"360 saved in {further}\n")
    assert path.read_text() == page


def test_page_without_room_counts_and_says_so(kafka: str, topic: str, tmp_path: Path) -> None:
    path, group = tmp_path / "night.html", f"group-{topic}"
    no_images = dict.fromkeys(("cutoutDifference", "cutoutScience", "cutoutTemplate"))
    alert = sample_alert("10.0") | no_images
    many = write_container(tmp_path / "a.avro", official_schema("10.0"), [alert] * 1005)
    send_visits(kafka, topic, many)
    saved = run("print", kafka, topic, "--save", path, "--group", group, *QUIET)
    assert saved.status == 0
    assert f"{path} shows the first 1000 alerts; 5 more are not on it" in saved.err
    assert sum(raw_kafka.committed(kafka, group).values()) == 1005


def test_files_of_all_kinds_at_once(kafka: str, fresh: str, tmp_path: Path) -> None:
    raw_kafka.write(kafka, fresh, [b"junk"])
    paths = [tmp_path / f"night.{kind}" for kind in ("avro", "parquet", "html")]
    saves = [each for path in paths for each in ("--save", path)]
    saved = run("print", kafka, fresh, *saves, *QUIET, "--from", -61)
    assert saved.status == 3
    beside = tmp_path / "night-undecodable.avro"
    assert saved.err.splitlines()[-3:] == [
        f"61 saved in {beside}, {paths[0]}",
        f"60 saved in {paths[1]}",
        f"60 saved in {paths[2]}",
    ]
    assert len(bodies_in(paths[0])) == pyarrow.parquet.read_table(paths[1]).num_rows == 60
    assert paths[2].read_text().count("<tr>") == 61


def test_what_one_file_refuses_no_file_has(kafka: str, topic: str, tmp_path: Path) -> None:
    numbered = sample_alert("10.0")
    numbered["diaSource"]["diaObjectId"] = 5
    schema = official_schema("10.0")
    written = write_container(tmp_path / "sent.avro", schema, [numbered])
    send_visits(kafka, topic, written)
    raw_kafka.write(kafka, topic, [ztf_alert(Science="s", Template="t", Difference="d")[1]])
    # Its table has numbers for objects, or texts: not both.
    paths = [tmp_path / f"night.{kind}" for kind in ("avro", "html", "parquet")]
    saves = [each for path in paths for each in ("--save", path)]
    saved = run("print", kafka, topic, *saves, "--fields", "object_id", "--exit-on-eof")
    assert saved.status == 3, saved.err
    assert pyarrow.parquet.read_table(paths[2]).num_rows == 1
    assert paths[1].read_text().count("<tr>") == 2
    kept = [*records(tmp_path / "night-undecodable.avro")]
    assert len(kept) == 1


def test_table_of_unknown_fields_or_mixed_types(kafka: str, topic: str, tmp_path: Path) -> None:
    raw_kafka.make(kafka, topic)
    raw_kafka.write(kafka, topic, [ztf_alert(Science="s", Template="t", Difference="d")[1]])
    assert run("send", kafka, topic, "--interval", 0, "--limit", 1).status == 0
    path = tmp_path / "night.parquet"
    unknown = run("print", kafka, topic, "--save", path, "--fields", "snrr", "--exit-on-eof")
    assert unknown.status == 2
    assert "no schema has the field snrr" in unknown.err
    mixed = run("print", kafka, topic, "--save", path, "--fields", "object_id", "--exit-on-eof")
    assert mixed.status == 3
    assert "fields whose types differ from the table's columns" in mixed.err
    assert pyarrow.parquet.read_table(path).num_rows in (1, 4)


def test_comma_separated_values(kafka: str, stream: str) -> None:
    how = ("--fields", "source_id,snr,band,diaSource.parentDiaSourceId", "--exit-on-eof")
    table = run("print", kafka, stream, "--format", "csv", *how)
    assert table.status == 0
    rows = list(csv.DictReader(table.lines))
    shown = run("print", kafka, stream, "--format", "json", *how)
    alerts = {str(each["alert"]["source_id"]): each["alert"] for each in shown.objects}
    assert len(rows) == len(alerts) == 240
    for row in rows:
        snr = alerts[row["source_id"]]["snr"]
        assert row["snr"] == ("" if snr is None else str(snr))
        assert row["band"] == alerts[row["source_id"]]["band"]
        assert row["diaSource.parentDiaSourceId"] == ""


@pytest.mark.slow
def test_table_of_a_group_that_gets_another_member(kafka: str, topic: str, tmp_path: Path) -> None:
    assert run("send", kafka, topic, "--interval", 0, "--partitions", 2).status == 0
    how = ("--group", f"group-{topic}", "--fields", "snr")
    path = tmp_path / "night.parquet"
    first = start("print", kafka, topic, *how, "--save", path)
    assert first.stdout is not None
    assert first.stdout.readline()
    second = start("print", kafka, topic, *how)
    first.wait(60)
    ended = finish(first)
    assert ended.status == 1
    assert "error: another member joined the group" in ended.err
    assert list(tmp_path.iterdir()) == []
    assert stop(second).status == 0
