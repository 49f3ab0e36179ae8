"""``alertstream filter`` while topics, offsets and claims go, and come back as others."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from tests.support import raw_kafka
from tests.support.commands import one_error, run, send_visits, start, stop, until
from tests.support.filters import totals

EVERYTHING = "diaSource.snr > -1 or not diaSource.snr > -1"


def passing(topic: str, cap: int = 20) -> list[object]:
    """A filter that lets everything pass, to the topic's name with ``-out``."""
    how = ["--where", EVERYTHING, "--output", f"{topic}-out", "--group", f"{topic}-group"]
    return [*how, "--cap", cap, "--format", "json"]


def passed(kafka: str, topic: str) -> int:
    return len(raw_kafka.read(kafka, f"{topic}-out"))


def until_passed(kafka: str, topic: str, count: int) -> None:
    until(lambda: passed(kafka, topic) >= count, f"{count} have passed", limit=60)


def make_anew(kafka: str, topic: str, partitions: int = 1) -> None:
    raw_kafka.delete(kafka, topic)
    until(lambda: raw_kafka.describe(kafka, topic) is None, "it is gone")
    raw_kafka.make(kafka, topic, partitions)


@pytest.mark.parametrize(
    "anew",
    [
        pytest.param(True, marks=pytest.mark.hostile("3: caps' topic deleted and recreated")),
        pytest.param(False, marks=pytest.mark.hostile("3: caps' topic deleted")),
    ],
)
@pytest.mark.slow
def test_caps_count_in_a_topic_that_is_made_anew(
    kafka: str, topic: str, visits: Path, anew: bool
) -> None:
    first, *others = sorted(visits.glob("*.avro"))
    claims = f"{topic}-group-visit-caps"
    send_visits(kafka, topic, first)
    process = start("filter", kafka, topic, *passing(topic))
    until_passed(kafka, topic, 20)
    if anew:
        make_anew(kafka, claims)
    else:
        raw_kafka.delete(kafka, claims)
    send_visits(kafka, topic, *others)
    until_passed(kafka, topic, 60)
    ended = stop(process)
    (total,) = totals(ended).values()
    assert (ended.status, total["seen"], total["passed"]) == (0, 360, 60)
    assert passed(kafka, topic) == 60
    assert f"{claims} was deleted" in ended.err
    # Where the claims begin is known in the new topic, too.
    send_visits(kafka, topic, *others)
    again = run("filter", kafka, topic, *passing(topic), "--exit-on-eof")
    assert (again.err, totals(again)[f"{topic}-out"]["passed"]) == ("", 0)


@pytest.mark.hostile("3: malformed claims in the caps' topic")
def test_malformed_claims_are_skipped(kafka: str, topic: str, visits: Path) -> None:
    first, *others = sorted(visits.glob("*.avro"))
    claims = f"{topic}-group-visit-caps"
    send_visits(kafka, topic, first)
    assert run("filter", kafka, topic, *passing(topic), "--exit-on-eof").status == 0
    ours = json.loads(raw_kafka.read(kafka, claims)[0].value)
    wrong = [[[], "t", 0, 0, "1"]], [[1, "t", 0, 0, "-1"]], 7
    junk = [json.dumps(ours | {"claims": each}).encode() for each in wrong]
    raw_kafka.write(kafka, claims, [*junk, b"junk"], partition=0)
    send_visits(kafka, topic, *others)
    ended = run("filter", kafka, topic, *passing(topic), "--exit-on-eof")
    assert (ended.status, passed(kafka, topic)) == (0, 60)
    (line,) = ended.err.splitlines()
    assert line.startswith("a claim is not valid, and does not count · ")


@pytest.mark.hostile("14: caps that count anew, as --cap has changed or the group has expired")
def test_caps_that_count_anew_say_so(kafka: str, topic: str, visits: Path) -> None:
    first, second, third = sorted(visits.glob("*.avro"))
    errors = []
    for file, cap in ((first, 20), (second, 20), (third, 30)):
        send_visits(kafka, topic, file)
        ended = run("filter", kafka, topic, *passing(topic, cap), "--exit-on-eof")
        assert ended.status == 0
        errors.append(ended.err)
    assert errors[:2] == ["", ""] and "with another --cap or --unique does not count" in errors[2]
    assert passed(kafka, topic) == 70
    raw_kafka.forget(kafka, f"{topic}-group")
    ended = run("filter", kafka, topic, *passing(topic, 30), "--exit-on-eof")
    assert ended.err.startswith("the group has no offsets any more: ")
    assert totals(ended)[f"{topic}-out"]["passed"] == 90


@pytest.mark.hostile("5: topic deleted and recreated, with more messages than before")
def test_topic_that_is_made_anew_is_filtered_from_its_beginning(
    kafka: str, topic: str, visits: Path
) -> None:
    first, *others = sorted(visits.glob("*.avro"))
    raw_kafka.make(kafka, topic, 2)
    send_visits(kafka, topic, first)
    process = start("filter", kafka, topic, *passing(topic, 0))
    until_passed(kafka, topic, 120)
    make_anew(kafka, topic, 2)
    send_visits(kafka, topic, *others)
    until_passed(kafka, topic, 360)
    ended = stop(process)
    (total,) = totals(ended).values()
    assert (ended.status, total["seen"], total["passed"]) == (0, 360, 360)
    assert ended.err == f"{topic} was deleted and recreated: it is read from its beginning\n"
    assert passed(kafka, topic) == len(
        {each.value for each in raw_kafka.read(kafka, f"{topic}-out")}
    )
    assert sum(raw_kafka.committed(kafka, f"{topic}-group").values()) == 240


@pytest.mark.slow
@pytest.mark.hostile("5: broker that comes back empty")
def test_broker_that_comes_back_empty(topic: str, visits: Path, tmp_path: Path) -> None:
    first, *others = sorted(visits.glob("*.avro"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        kafka = f"127.0.0.1:{taken.getsockname()[1]}"

    def launch(ready: Path) -> object:
        process = start("broker", "--port", kafka.split(":")[1], "--ready-file", ready)
        until(ready.exists, "Kafka is ready", 60)
        return process

    broker = launch(tmp_path / "first")
    send_visits(kafka, topic, first)
    process = start("filter", kafka, topic, *passing(topic))
    until_passed(kafka, topic, 20)
    assert stop(broker).status == 0
    broker = launch(tmp_path / "second")
    try:
        send_visits(kafka, topic, *others)
        until_passed(kafka, topic, 40)
        assert passed(kafka, topic) == 40
        group = f"{topic}-group"
        until(lambda: sum(raw_kafka.committed(kafka, group).values()) == 240, "all is committed")
    finally:
        assert stop(broker).status == 0
    # All is committed, and it ends as ever, though there is no Kafka to say so to.
    ended = stop(process)
    (total,) = totals(ended).values()
    assert (ended.status, total["seen"], total["passed"]) == (0, 360, 60)
    assert f"{topic} was deleted and recreated" in ended.err


@pytest.mark.hostile("15: two different filters with one --group")
@pytest.mark.slow
def test_other_filters_are_refused_until_the_whole_group_has_ended(
    kafka: str, topic: str, visits: Path
) -> None:
    send_visits(kafka, topic, next(visits.glob("*.avro")))
    process = start("filter", kafka, topic, *passing(topic))
    until(lambda: raw_kafka.members(kafka, f"{topic}-group") == 1, "it is a member")
    other = ("--where", "snr > 5", "--output", f"{topic}-out", "--group", f"{topic}-group")
    for how in (other, passing(topic, cap=7)):
        refused = run("filter", kafka, topic, *how, "--exit-on-eof")
        one_error(refused, "the group's members run other filters", "choose another --group")
    same = start("filter", kafka, topic, *passing(topic))
    until(lambda: raw_kafka.members(kafka, f"{topic}-group") == 2, "there are two")
    assert [stop(each).status for each in (process, same)] == [0, 0]
    assert run("filter", kafka, topic, *other, "--exit-on-eof").status == 0
