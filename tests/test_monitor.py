"""``alertstream monitor``: the numbers are those of the topics."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import raw_kafka
from conftest import run, start, stop


@pytest.fixture
def stream(kafka: str, topic: str, visits: Path) -> str:
    assert run("send", kafka, topic, "--data", visits, "--interval", 0).status == 0
    return topic


def test_final_figures_are_right(kafka: str, stream: str, visits: Path) -> None:
    raw_kafka.write(kafka, stream, [b"garbage", b"more garbage"])
    watched = run("monitor", kafka, stream, "--exit-on-eof", "--format", "json")
    assert watched.status == 3
    final = watched.objects[-1]
    assert final["final"] is True
    assert all("final" not in each for each in watched.objects[:-1])
    messages = raw_kafka.read(kafka, stream)
    stats = final["topics"][stream]
    assert stats["alerts"] == 360
    assert stats["undecodable"] == 2
    assert stats["bytes"] == sum(len(message.value) for message in messages)
    names = [path.stem.removeprefix("visit-") for path in sorted(visits.iterdir())]
    assert sorted(stats["visits"]) == names
    times = sorted(message.timestamp for message in messages if len(message.value) > 20)
    assert min(each["first"] for each in stats["visits"].values()) == times[0]
    assert max(each["last"] for each in stats["visits"].values()) == times[-1]
    for each in stats["visits"].values():
        assert each["alerts"] == 120
        assert each["first"] <= each["last"]
        # All was there before the monitor started: the latency is at most the time since then.
        assert 0 < each["latency_p50_ms"] <= each["latency_p99_ms"]
        assert each["latency_p99_ms"] <= time.time() * 1000 - times[0]


def test_several_topics_at_once(kafka: str, stream: str, topic: str) -> None:
    other = f"{topic}-other"
    raw_kafka.make(kafka, other)
    watched = run("monitor", kafka, stream, other, "--exit-on-eof", "--format", "json")
    assert watched.status == 0
    alerts = {name: each["alerts"] for name, each in watched.objects[-1]["topics"].items()}
    assert alerts == {stream: 360, other: 0}


def test_follows_as_alerts_come(kafka: str, topic: str, visits: Path) -> None:
    raw_kafka.make(kafka, topic)
    process = start("monitor", kafka, topic, "--format", "json", "--refresh", 0.2)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["topics"][topic]["alerts"] == 0
    assert run("send", kafka, topic, "--data", visits, "--interval", 0).status == 0
    figures = {}
    while figures.get("alerts") != 360:
        figures = json.loads(process.stdout.readline())["topics"][topic]
    # Watched while they were sent, no alert can be older than the whole test.
    assert all(each["latency_p99_ms"] < 20_000 for each in figures["visits"].values())
    assert figures["alerts_per_second"] > 0
    ended = stop(process)
    assert ended.status == 0
    assert ended.objects[-1]["final"] is True
    assert ended.objects[-1]["topics"][topic]["alerts"] == 360


def test_plain_lines_where_there_is_no_terminal(kafka: str, stream: str) -> None:
    watched = run("monitor", kafka, stream, "--exit-on-eof")
    assert watched.status == 0
    assert f"  {stream}  360 alerts  " in watched.lines[-1]
    assert "120 alerts, latency " in watched.lines[-1]
    assert "\x1b" not in watched.out


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (["nowhere"], 1, "there is no topic nowhere"),
        ([], 2, "TOPIC"),
        (["nowhere", "--format", "html"], 2, "choose live, text, json"),
        (["nowhere", "--refresh", "0"], 2, "'--refresh'"),
    ],
)
def test_wrong_arguments(kafka: str, arguments: list[str], status: int, what: str) -> None:
    watched = run("monitor", kafka, *arguments)
    assert (watched.status, watched.out) == (status, "")
    assert what.lower() in watched.err.lower()
    assert watched.err.count("\n") == 1


def test_missing_broker() -> None:
    watched = run("monitor", "127.0.0.1:1", "x")
    assert watched.status == 1
    assert watched.err.startswith("error: Kafka cannot be reached (Connection refused)")
