"""Which messages are read: of which topics, from where on, and how far."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support import raw_kafka
from tests.support.commands import Finished, finish, run, send_visits, start, stop, until

JSON = ("--format", "json", "--fields", "snr")


def places(printed: Finished) -> list[tuple[str, int, int]]:
    return sorted((each["topic"], each["partition"], each["offset"]) for each in printed.objects)


@pytest.fixture(scope="module")
def stream(kafka: str, visits: Path) -> str:
    """A topic of two partitions with 120 alerts, which tests only read."""
    send_visits(kafka, "read-in-part", sorted(visits.iterdir())[0], partitions=2)
    return "read-in-part"


@pytest.fixture
def fresh(kafka: str, topic: str, visits: Path) -> str:
    """Such a topic of a test's own."""
    send_visits(kafka, topic, sorted(visits.iterdir())[0], partitions=2)
    return topic


def test_from_an_offset_until_an_offset(kafka: str, stream: str) -> None:
    printed = run("print", kafka, stream, *JSON, "--from", 10, "--until", 15)
    assert printed.status == 0
    assert places(printed) == [(stream, n, offset) for n in (0, 1) for offset in range(10, 15)]


def test_last_few_of_each_partition(kafka: str, stream: str) -> None:
    ends = raw_kafka.ends(kafka, stream)
    printed = run("print", kafka, stream, *JSON, "--from", -3, "--exit-on-eof")
    assert places(printed) == [
        (stream, number, offset)
        for number, end in sorted(ends.items())
        for offset in range(end - 3, end)
    ]


@pytest.mark.parametrize(("origin", "count"), [("-100000", 120), ("100000", 0)])
def test_offsets_beyond_what_there_is(kafka: str, stream: str, origin: str, count: int) -> None:
    printed = run("print", kafka, stream, *JSON, f"--from={origin}", "--exit-on-eof")
    assert (printed.status, len(printed.objects)) == (0, count)


def test_until_a_time_that_is_over(kafka: str, fresh: str, visits: Path) -> None:
    last = max(message.timestamp for message in raw_kafka.read(kafka, fresh))
    send_visits(kafka, fresh, sorted(visits.iterdir())[1], partitions=2)
    between = datetime.fromtimestamp((last + 1) / 1000, UTC).isoformat()
    for group in ((), ("--group", f"group-{fresh}")):
        printed = run("print", kafka, fresh, *JSON, "--until", between, *group)
        assert (printed.status, len(printed.objects)) == (0, 120)
    rest = run("print", kafka, fresh, *JSON, "--group", f"group-{fresh}", "--exit-on-eof")
    assert len(rest.objects) == 120


@pytest.mark.slow
def test_until_a_time_to_come(kafka: str, fresh: str, visits: Path) -> None:
    end = datetime.now(UTC) + timedelta(seconds=6)
    process = start("print", kafka, fresh, *JSON, "--until", end.isoformat())
    send_visits(kafka, fresh, sorted(visits.iterdir())[1], partitions=2)
    process.wait(30)
    assert time.time() >= end.timestamp()
    ended = stop(process)
    assert ended.status == 0
    assert len(ended.objects) == 240


def test_times_before_all_times(kafka: str, stream: str) -> None:
    printed = run("print", kafka, stream, *JSON, "--from", "1960-01-01", "--exit-on-eof")
    assert (printed.status, len(printed.objects)) == (0, 120)
    none = run("print", kafka, stream, *JSON, "--until", "1960-01-01")
    assert (none.status, none.out) == (0, "")


@pytest.mark.slow
def test_many_topics_that_appear_are_read_whole(kafka: str, topic: str, visits: Path) -> None:
    first, *_ = sorted(visits.iterdir())
    send_visits(kafka, f"{topic}.0", first, partitions=2)
    process = start("print", kafka, f"{topic}.*", *JSON)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(120)]
    for number in range(1, 8):
        send_visits(kafka, f"{topic}.{number}", first, partitions=2)
        time.sleep(0.7)
    lines += [process.stdout.readline() for _ in range(7 * 120)]
    ended = stop(process)
    assert (ended.status, ended.out) == (0, "")
    assert len(set(lines)) == 8 * 120


def test_filter_of_a_part(kafka: str, stream: str) -> None:
    output = f"part-{stream}"
    how = ("--where", "snr > 0 or not snr > 0", "--output", output, "--cap", 0)
    assert run("filter", kafka, stream, *how, "--from", 10, "--until", 15).status == 0
    assert len(raw_kafka.read(kafka, output)) == 10


def test_topics_that_match_a_pattern(kafka: str, topic: str, visits: Path) -> None:
    first, second, *_ = sorted(visits.iterdir())
    for name, file in ((f"{topic}.mon", first), (f"{topic}.tue", second), (f"not-{topic}", first)):
        send_visits(kafka, name, file, partitions=2)
    raw_kafka.make(kafka, f"{topic}.mon-undecodable")
    raw_kafka.write(kafka, f"{topic}.mon-undecodable", [b"junk"])
    printed = run("print", kafka, f"{topic}.*", *JSON, "--exit-on-eof")
    assert printed.status == 0, printed.err
    assert Counter(each["topic"] for each in printed.objects) == {
        f"{topic}.mon": 120,
        f"{topic}.tue": 120,
    }
    junk = run("print", kafka, f"{topic}.*-undecodable", "--exit-on-eof")
    assert junk.status == 3
    watched = run("monitor", kafka, f"{topic}.*", "--exit-on-eof", "--format", "json")
    figures = watched.objects[-1]["topics"]
    assert {name: each["alerts"] for name, each in figures.items()} == {
        f"{topic}.mon": 120,
        f"{topic}.tue": 120,
    }


@pytest.mark.parametrize("group", [pytest.param(True, marks=pytest.mark.slow), False])
@pytest.mark.slow
def test_topics_that_appear(kafka: str, topic: str, visits: Path, group: bool) -> None:
    first, second, *_ = sorted(visits.iterdir())
    send_visits(kafka, f"{topic}.mon", first, partitions=2)
    which = ("--group", f"group-{topic}") if group else ()
    process = start("print", kafka, f"{topic}.*", *JSON, *which, "--from", "latest")
    assert process.stdout is not None
    if group:
        committed = f"group-{topic}"
        until(lambda: len(raw_kafka.committed(kafka, committed)) == 2, "it has begun")
    else:
        time.sleep(3)
    send_visits(kafka, f"{topic}.tue", second, partitions=2)
    lines = [process.stdout.readline() for _ in range(120)]
    send_visits(kafka, f"{topic}.mon", second, partitions=2)
    lines += [process.stdout.readline() for _ in range(120)]
    ended = stop(process)
    assert (ended.status, ended.out) == (0, "")
    assert len(set(lines)) == 240


@pytest.mark.slow
def test_filter_of_daily_topics(kafka: str, topic: str, visits: Path) -> None:
    output, where = f"of-{topic}", ("--where", "snr > 0 or not snr > 0")
    how = ("filter", kafka, f"{topic}.*", *where, "--output", output, "--cap", 0)
    process = start(*how, "--group", f"group-{topic}")
    assert process.stderr is not None
    assert process.stderr.readline() == f"no topic matches {topic}.*: waiting for one\n"
    names = [f"{topic}.{day}" for day in ("mon", "tue")]
    for name, file in zip(names, sorted(visits.iterdir()), strict=False):
        send_visits(kafka, name, file, partitions=2)
        raw_kafka.write(kafka, name, [b"junk"])
    until(lambda: len(raw_kafka.read(kafka, output)) == 240, "all has passed", limit=60)
    for name in names:
        until(lambda name=name: raw_kafka.read(kafka, f"{name}-undecodable"), "junk is set aside")
    ended = stop(process)
    assert ended.status == 3
    assert "242 seen = 240 passed" in ended.lines[-1]


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (("print", "t", "--until", "never"), 2, "never is not a valid --until"),
        (("print", "t", "--until", "-5"), 2, "-5 is not a valid --until"),
        (("print", "t", "--from", "12h"), 2, "12h is not a valid --from"),
        (("filter", "Filter*", "1"), 2, "the output topic Filter001 is also an input"),
        (("print", "nothing-*", "--exit-on-eof"), 1, "no topic matches nothing-*"),
        (("print", "nothing"), 1, "there is no topic nothing"),
        (("filter", "F*", "1"), 2, "the output topic Filter001 is also an input"),
        (("filter", "Filter001", "1"), 2, "the output topic Filter001 is also an input"),
    ],
)
def test_wrong_arguments(kafka: str, arguments: list[str], status: int, what: str) -> None:
    command, topic, *rest = arguments
    ended = run(command, kafka, topic, *rest)
    assert ended.status == status
    assert ended.err.startswith(f"error: {what}")
    assert ended.err.count("\n") == 1


@pytest.mark.hostile("11: partitions added later, without a group")
def test_partitions_that_are_added_are_read_whole(
    kafka: str, topic: str, visits: Path, tmp_path: Path
) -> None:
    watched = tmp_path / "monitor"
    first, second, _ = sorted(visits.glob("*.avro"))
    raw_kafka.make(kafka, topic, 2)
    send_visits(kafka, topic, first)
    shown = start("print", kafka, topic, *JSON, "-n", 240)
    monitor = start("monitor", kafka, topic, "--format", "json", out=watched)
    raw_kafka.add_partitions(kafka, topic, 4)
    send_visits(kafka, topic, second)
    printed = finish(shown, 30)
    assert (printed.status, len(set(places(printed)))) == (0, 240)
    assert {partition for _, partition, _ in places(printed)} == {0, 1, 2, 3}
    until(lambda: '"alerts": 240' in watched.read_text(), "the monitor has seen all")
    assert stop(monitor).status == 0


@pytest.mark.hostile("5: topic deleted and recreated, without a group")
@pytest.mark.slow
def test_topic_that_is_made_anew_is_read_from_its_beginning(
    kafka: str, topic: str, visits: Path, tmp_path: Path
) -> None:
    first, *others = sorted(visits.glob("*.avro"))
    send_visits(kafka, topic, first)
    out = tmp_path / "out"
    process = start("print", kafka, topic, *JSON, "-n", 360, out=out)
    until(lambda: out.read_text().count("\n") == 120, "the first visit is shown")
    raw_kafka.delete(kafka, topic)
    until(lambda: raw_kafka.describe(kafka, topic) is None, "it is gone")
    send_visits(kafka, topic, *others)
    ended = finish(process, 30)
    assert (ended.status, out.read_text().count("\n")) == (0, 360)
    assert f"{topic} was deleted and recreated: it is read from its beginning" in ended.err


@pytest.mark.hostile("5: messages deleted before they are read, and a partition without its end")
@pytest.mark.parametrize(
    ("at", "told"),
    [
        (50, "[0]: 30 offsets were deleted before they were read"),
        (5000, "[0] ends before 5000, where it was read: it is read from its beginning"),
    ],
)
def test_group_whose_offset_is_not_there_says_so(
    kafka: str, topic: str, visits: Path, at: int, told: str
) -> None:
    send_visits(kafka, topic, sorted(visits.iterdir())[0], partitions=1)
    raw_kafka.commit(kafka, f"{topic}-group", topic, at)
    raw_kafka.delete_before(kafka, topic, 80)
    printed = run("print", kafka, topic, *JSON, "-g", f"{topic}-group", "-n", 40)
    assert (printed.status, [offset for _, _, offset in places(printed)]) == (0, [*range(80, 120)])
    assert f"{topic}{told}" in printed.err
