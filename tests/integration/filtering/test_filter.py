"""``alertstream filter``: exactly what a filter wants, of a visit no more than its cap."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from tests.support import raw_kafka, samples
from tests.support.commands import run, send_visits, start, stop, until
from tests.support.filters import own_filter, own_filters, totals
from tests.support.raw_kafka import values
from tests.support.ztf import ztf_alert

from alertstream.avro.wire import pack

SCHEMA = json.loads(
    (Path(__file__).parents[3] / "schemas" / "lsst.v10_0.alert.avsc").read_text(encoding="utf-8")
)
CUT = 10 ** (0.4 * (31.4 - 20))


def decoded(message: Any) -> dict[str, Any]:
    return fastavro.schemaless_reader(BytesIO(message.value[5:]), SCHEMA)


def wanted(alert: dict[str, Any]) -> bool:
    snr, flux = alert["diaSource"]["snr"], alert["diaSource"]["psfFlux"]
    return snr is not None and snr > 5 and flux is not None and flux > CUT


def capped(messages: Iterable[Any], cap: int = 20) -> list[Any]:
    """The first ``cap`` of each visit that the template wants, in this order."""
    passed: Counter[int] = Counter()
    chosen = []
    for message in messages:
        alert = decoded(message)
        visit = alert["diaSource"]["visit"]
        if wanted(alert) and (not cap or passed[visit] < cap):
            passed[visit] += 1
            chosen.append(message)
    return chosen


@pytest.fixture
def stream(kafka: str, topic: str, visits: Path) -> str:
    """A topic of one partition, so that all consume it in one order, with three visits."""
    send_visits(kafka, topic, visits, partitions=1)
    return topic


def test_hundred_filters_select_what_a_direct_computation_does(kafka: str, stream: str) -> None:
    group = f"group-{stream}"
    before = {n: len(raw_kafka.read(kafka, f"Filter{n:03}")) for n in (1, 50, 100)}
    how = ("--group", group, "--exit-on-eof", "--format", "json")
    filtered = run("filter", kafka, stream, "1-100", *how)
    assert filtered.status == 0, filtered.err
    source = raw_kafka.read(kafka, stream)
    expected, would_pass = capped(source), sum(wanted(decoded(m)) for m in source)
    assert 20 < len(expected) < would_pass
    for number in (1, 50, 100):
        new = raw_kafka.read(kafka, f"Filter{number:03}")[before[number] :]
        assert values(new) == values(expected)
    assert len(totals(filtered)) == 100
    for each in totals(filtered).values():
        parts = ("passed", "rejected", "capped", "duplicate", "undecodable", "failed")
        assert each["seen"] == len(source) == sum(each[part] for part in parts)
        assert each["passed"] == len(expected)
        assert each["capped"] == would_pass - len(expected)
    for name in ("Filter001", "Filter100"):
        of_visits = [e for e in filtered.objects if e["filter"] == name and e["visit"] is not None]
        assert [each["seen"] for each in of_visits] == [120] * 3
        assert {each["visit"] for each in of_visits} == {
            decoded(message)["diaSource"]["visit"] for message in source
        }
        assert sum(each["passed"] for each in of_visits) == len(expected)


def test_alert_passes_unchanged_with_its_origin(kafka: str, topic: str, tmp_path: Path) -> None:
    raw_kafka.make(kafka, topic, 3)
    with samples.sample_file("10.0").open("rb") as file:
        (block,) = fastavro.block_reader(file)
    message = pack(1000, block.bytes_.getvalue())
    more = {"key": b"a key", "headers": [("theirs", b"1")], "timestamp_ms": 1_600_000_000_123}
    raw_kafka.write(kafka, topic, [message], partition=2, **more)
    match = {"in": "targets.csv", "target": "ζ Ret", "separation": 0.42}
    name, body = f"All{topic.split('-')[-1]}", f"alert.matches.append({match}); return True"
    path = own_filter(tmp_path, name, body)
    assert run("filter", kafka, topic, "--filters", path, "--exit-on-eof").status == 0
    (copy,) = raw_kafka.read(kafka, name)
    assert (copy.value, copy.key, copy.timestamp) == (message, b"a key", 1_600_000_000_123)
    assert copy.partition == 2
    headers = dict(copy.headers)
    assert headers["theirs"] == b"1"
    assert json.loads(headers["alertstream.match"]) == [match]
    (shown,) = run("print", kafka, name, "--exit-on-eof", "--format", "json").objects
    assert shown["match"] == [match]
    assert json.loads(headers["alertstream.origin"]) == {
        "topic": topic,
        "partition": 2,
        "offset": 0,
        "timestamp": 1_600_000_000_123,
    }


def test_users_classes_by_name_with_fields_of_all_kinds(
    kafka: str, stream: str, tmp_path: Path
) -> None:
    number = stream.split("-")[-1]
    code = f"""
class BySnr{number}(AlertFilter):
    \"\"\"By a quantity and a path.\"\"\"
    fields = ("snr", "diaSource.reliability")
    def passes(self, alert):
        return alert.snr > 10 and alert["diaSource"]["reliability"] > 0.5

class ByHistory{number}(AlertFilter):
    \"\"\"By the whole alert, as nothing is declared.\"\"\"
    def passes(self, alert):
        return len(alert["prvDiaSources"] or ()) > 3

class NotAsked{number}(AlertFilter):
    \"\"\"Is in the file, but not named.\"\"\"
    def passes(self, alert):
        return True
"""
    path = own_filters(tmp_path, code)
    names = (f"BySnr{number}", f"ByHistory{number}")
    how = ("--filters", path, "--cap", 0, "--exit-on-eof", "--format", "json")
    filtered = run("filter", kafka, stream, *names, *how)
    assert filtered.status == 0, filtered.err
    source = raw_kafka.read(kafka, stream)

    def by_snr(alert: dict[str, Any]) -> bool:
        snr, reliability = (alert["diaSource"][name] for name in ("snr", "reliability"))
        return snr is not None and snr > 10 and reliability > 0.5

    def by_history(alert: dict[str, Any]) -> bool:
        return len(alert["prvDiaSources"] or ()) > 3

    for name, wants in zip(names, (by_snr, by_history), strict=True):
        expected = [m for m in source if wants(decoded(m))]
        assert values(raw_kafka.read(kafka, name)) == values(expected)
        assert totals(filtered)[name]["passed"] == len(expected) > 5
    assert raw_kafka.describe(kafka, f"NotAsked{number}") is None


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_goes_on_where_its_group_has_stopped(
    kafka: str, stream: str, visits: Path, delivery: str, tmp_path: Path
) -> None:
    name = f"Rest{stream.split('-')[-1]}"
    path = own_filter(tmp_path, name, "return True", "()")
    how = ("--filters", path, "--exit-on-eof", "--delivery", delivery, "--cap", 0)
    assert run("filter", kafka, stream, *how).status == 0
    assert raw_kafka.committed(kafka, f"filter-{stream}-mine") == {0: 360}
    nothing = run("filter", kafka, stream, *how)
    assert nothing.lines[-1].startswith(f"{name}  all visits: 0 seen")
    send_visits(kafka, stream, visits)
    rest = run("filter", kafka, stream, *how)
    assert rest.lines[-1].startswith(f"{name}  all visits: 360 seen = 360 passed")
    assert values(raw_kafka.read(kafka, name)) == values(raw_kafka.read(kafka, stream))


def test_reports_a_visit_when_it_is_over_and_ends_on_a_signal(
    kafka: str, stream: str, tmp_path: Path
) -> None:
    path = own_filter(tmp_path, f"Live{stream.split('-')[-1]}", "return False", "()")
    process = start("filter", kafka, stream, "--filters", path, "--format", "json")
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    assert (line["seen"], line["rejected"]) == (120, 120)
    assert line["visit"] is not None
    ended = stop(process)
    assert ended.status == 0
    assert (ended.objects[-1]["visit"], ended.objects[-1]["final"]) == (None, True)
    assert ended.objects[-1]["seen"] == 360


def test_two_members_share_the_partitions_and_what_has_passed(
    kafka: str, topic: str, visits: Path, tmp_path: Path
) -> None:
    name, group = f"Shared{topic.split('-')[-1]}", f"group-{topic}"
    path = own_filter(tmp_path, name, "return True", "()")
    raw_kafka.make(kafka, topic, 4)
    how = ("--filters", path, "--cap", 0, "--unique", "--format", "json", "--group", group)
    members = [start("filter", kafka, topic, *how) for _ in range(2)]
    for _ in range(3):
        send_visits(kafka, topic, visits)
    until(lambda: sum(raw_kafka.committed(kafka, group).values()) == 1080, "all is judged")
    ended = [stop(member) for member in members]
    assert [each.status for each in ended] == [0, 0]
    # What has passed before they were started again counts, in whichever partition.
    raw_kafka.write(kafka, topic, values(raw_kafka.read(kafka, topic))[:5], partition=3)
    ended.append(run("filter", kafka, topic, *how, "--exit-on-eof"))
    both = [totals(each)[name] for each in ended]
    assert sum(each["seen"] for each in both) == 1085
    assert all(each["seen"] == each["passed"] + each["duplicate"] for each in both)
    copied, source = (sorted(values(raw_kafka.read(kafka, each))) for each in (name, topic))
    assert (copied, both[-1]["duplicate"]) == (sorted({*source}), 5)


def test_a_cap_is_one_over_all_members_of_a_group(
    kafka: str, topic: str, visits: Path, tmp_path: Path
) -> None:
    number = topic.split("-")[-1]
    names = [f"{which}{number}" for which in ("First", "Second")]
    group = f"group-{topic}"
    how: list[object] = ["--cap", 7, "--format", "json", "--group", group]
    for name in names:
        (tmp_path / name).mkdir()
        how += ["--filters", own_filter(tmp_path / name, name, "return True", "()")]
    raw_kafka.make(kafka, topic, 4)
    members = [start("filter", kafka, topic, *how) for _ in range(2)]
    until(lambda: raw_kafka.members(kafka, group) == 2, "there are two")
    for _ in range(2):
        send_visits(kafka, topic, visits)
    until(lambda: sum(raw_kafka.committed(kafka, group).values()) == 720, "all is judged")
    ended = [stop(member) for member in members]
    assert [each.status for each in ended] == [0, 0]
    for name in names:
        both = [totals(each)[name] for each in ended]
        assert all(each["seen"] > 0 for each in both)
        assert sum(each["seen"] for each in both) == 720
        assert sum(each["passed"] for each in both) == 21
        assert len(raw_kafka.read(kafka, name)) == 21


def test_members_that_do_not_see_each_others_lock_files_are_two(
    kafka: str, stream: str, tmp_path: Path
) -> None:
    name = f"Apart{stream.split('-')[-1]}"
    how = ("--filters", own_filter(tmp_path, name, "return True", "()"), "--format", "json")
    members = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        members.append(start("filter", kafka, stream, *how, "--cap", 0, TMPDIR=str(folder)))
    until(lambda: len(raw_kafka.read(kafka, name)) >= 360, "all has passed")
    for ended in map(stop, members):
        assert (ended.status, ended.err) == (0, "")
    assert len(raw_kafka.read(kafka, name)) == 360


def test_versions_and_surveys_mixed_in_one_topic(kafka: str, topic: str) -> None:
    send_visits(kafka, topic, *map(samples.sample_file, samples.VERSIONS))
    raw_kafka.write(kafka, topic, [ztf_alert(Science="s", Template="t", Difference="d")[1]])
    lsst = [f"lsst.v{version.replace('.', '_')}.alert" for version in samples.VERSIONS]
    count = len(lsst) + 1
    for number, (where, wanted, lacking) in enumerate(
        (
            ("ra >= 0 and dec > -90", count, []),
            ("diaSource.ra >= 0", count - 1, ["ztf.alert has no diaSource.ra"]),
            ("candidate.magpsf < 20", 1, [f"{name} has no candidate.magpsf" for name in lsst]),
        )
    ):
        output = f"{topic}-{number}"
        how = ("--where", where, "--output", output, "--cap", 0, "--exit-on-eof")
        filtered = run("filter", kafka, topic, *how)
        assert filtered.status == 0, filtered.err
        assert f"{count} seen = {wanted} passed" in filtered.lines[-1]
        told = [f"{each}: for its alerts, filters see None there" for each in lacking]
        assert sorted(filtered.err.splitlines()) == sorted(told)
        assert len(raw_kafka.read(kafka, output)) == wanted
    shown = run("print", kafka, f"{topic}-0", "--exit-on-eof")
    assert (shown.status, len(shown.lines)) == (0, count + 1)


def test_what_was_set_aside_is_not_set_aside_again(kafka: str, topic: str) -> None:
    source, output = f"{topic}-undecodable", f"{topic}-out"
    raw_kafka.make(kafka, source)
    raw_kafka.write(kafka, source, [b"junk"])
    how = ("--where", "snr > 0", "--output", output, "--exit-on-eof")
    filtered = run("filter", kafka, source, *how)
    assert filtered.status == 3
    assert raw_kafka.describe(kafka, f"{source}-undecodable") is None
    assert len(raw_kafka.read(kafka, source)) == 1


@pytest.mark.slow
def test_output_topic_that_is_deleted_is_made_again(
    kafka: str, stream: str, visits: Path, tmp_path: Path
) -> None:
    name = f"Gone{stream.split('-')[-1]}"
    how = ("--filters", own_filter(tmp_path, name, "return True", "()"), "--cap", 0)
    process = start("filter", kafka, stream, *how)
    until(lambda: len(raw_kafka.read(kafka, name)) == 360, "all has passed")
    raw_kafka.delete(kafka, name)
    until(lambda: raw_kafka.describe(kafka, name) is None, "it is gone")
    send_visits(kafka, stream, visits)
    until(lambda: len(raw_kafka.read(kafka, name)) == 360, "all has passed again", limit=60)
    ended = stop(process)
    assert ended.status == 0
    assert f"{name}  all visits: 720 seen = 720 passed" in ended.lines[-1]


def test_garbage_is_counted_and_set_aside(kafka: str, stream: str, tmp_path: Path) -> None:
    alert = raw_kafka.read(kafka, stream)[0].value
    garbage = [
        b"garbage",
        pack(4242, b"?"),
        alert[:-1],
        alert + b"!",
        alert[:2000],
        b"",
        b"Obj\x01?",
        None,
    ]
    raw_kafka.write(kafka, stream, [alert, *garbage[:-1]])
    raw_kafka.write(kafka, stream, [None], key=b"a tombstone")
    name = f"Good{stream.split('-')[-1]}"
    path = own_filter(tmp_path, name, "return True", "('snr',)")
    how = ("--filters", path, "--cap", 0, "--exit-on-eof", "--format", "json")
    filtered = run("filter", kafka, stream, *how)
    assert filtered.status == 3
    total = totals(filtered)[name]
    assert (total["seen"], total["passed"], total["undecodable"]) == (361 + 8, 361, 8)
    set_aside = raw_kafka.read(kafka, f"{stream}-undecodable")
    assert values(set_aside) == garbage
    for message, offset in zip(set_aside, range(361, 369), strict=True):
        headers = dict(message.headers)
        origin = json.loads(headers["alertstream.origin"])
        assert (origin["topic"], origin["partition"], origin["offset"]) == (stream, 0, offset)
        assert headers["alertstream.reason"].decode()
    for cause in ("plain text, not Avro", "unknown schema id 4242", "cut short"):
        assert filtered.err.count(f"undecodable message: {cause}") == 1
    shown = run("print", kafka, f"{stream}-undecodable", "--exit-on-eof")
    assert shown.status == 3
    assert "unknown schema id 4242" in shown.out
    assert f"from {stream}[0]@361" in shown.out


def test_missing_topic_and_missing_broker(kafka: str) -> None:
    filtered = run("filter", kafka, "nowhere", "1")
    assert filtered.status == 1
    assert filtered.err.startswith(f"error: there is no topic nowhere · {kafka} · ")
    assert raw_kafka.describe(kafka, "nowhere") is None
    filtered = run("filter", "127.0.0.1:1", "x", "1")
    assert filtered.status == 1
    assert filtered.err.startswith("error: Kafka cannot be reached")
