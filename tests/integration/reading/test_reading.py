"""Which messages are read: of which topics, from where on, and how far."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support import raw_kafka
from tests.support.commands import Finished, run, send_visits, start, stop, until

JSON = ("--format", "json", "--fields", "snr")


def places(printed: Finished) -> list[tuple[str, int, int]]:
    return sorted((each["topic"], each["partition"], each["offset"]) for each in printed.objects)


@pytest.fixture
def stream(kafka: str, topic: str, visits: Path) -> str:
    """A topic of two partitions with 120 alerts."""
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


def test_until_a_time_that_is_over(kafka: str, stream: str, visits: Path) -> None:
    last = max(message.timestamp for message in raw_kafka.read(kafka, stream))
    send_visits(kafka, stream, sorted(visits.iterdir())[1], partitions=2)
    between = datetime.fromtimestamp((last + 1) / 1000, UTC).isoformat()
    for group in ((), ("--group", f"group-{stream}")):
        printed = run("print", kafka, stream, *JSON, "--until", between, *group)
        assert (printed.status, len(printed.objects)) == (0, 120)
    rest = run("print", kafka, stream, *JSON, "--group", f"group-{stream}", "--exit-on-eof")
    assert len(rest.objects) == 120


def test_until_a_time_to_come(kafka: str, stream: str, visits: Path) -> None:
    end = datetime.now(UTC) + timedelta(seconds=6)
    process = start("print", kafka, stream, *JSON, "--until", end.isoformat())
    send_visits(kafka, stream, sorted(visits.iterdir())[1], partitions=2)
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
