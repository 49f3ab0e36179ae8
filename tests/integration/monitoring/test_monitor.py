"""``alertstream monitor``: the numbers are those of the topics."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest
from tests.support import raw_kafka
from tests.support.commands import (
    COMMAND,
    clean_environment,
    finish,
    run,
    send_visits,
    start,
    stop,
    until,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def stream(kafka: str, visits: Path) -> str:
    """A topic that tests only watch."""
    send_visits(kafka, "watched", visits)
    return "watched"


@pytest.fixture
def fresh(kafka: str, topic: str, visits: Path) -> str:
    """A topic of a test's own."""
    send_visits(kafka, topic, visits)
    return topic


def test_final_figures_are_right(kafka: str, fresh: str, visits: Path) -> None:
    raw_kafka.write(kafka, fresh, [b"garbage", b"more garbage"])
    watched = run("monitor", kafka, fresh, "--exit-on-eof", "--format", "json")
    assert watched.status == 3
    final = watched.objects[-1]
    assert final["final"] is True
    assert all("final" not in each for each in watched.objects[:-1])
    messages = raw_kafka.read(kafka, fresh)
    stats = final["topics"][fresh]
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
        # All was there before the monitor started.
        assert (each["past"], each["late"]) == (120, 0)
        assert each["latency_p50_ms"] is each["latency_from_shutter"] is each["seconds"] is None


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
    send_visits(kafka, topic, visits)
    figures = {}
    while figures.get("alerts") != 360:
        figures = json.loads(process.stdout.readline())["topics"][topic]
    # Watched while they were sent, no alert can be older than the whole test.
    for each in figures["visits"].values():
        assert 0 < each["latency_p50_ms"] <= each["latency_p99_ms"] < 20_000
        assert each["latency_p99_ms"] <= each["latency_max_ms"] <= each["seconds"] * 1000 + 10
        # The header has Kafka's timestamp, and the shutter has closed at any time, with the files.
        assert each["latency_from_producer"]["p95_ms"] == each["latency_p95_ms"]
        assert each["latency_from_shutter"].keys() == each["latency_from_producer"].keys()
        assert (each["past"], each["late"]) == (0, 0)
    assert figures["alerts_per_second"] > 0
    ended = stop(process)
    assert ended.status == 0
    assert ended.objects[-1]["final"] is True
    assert ended.objects[-1]["topics"][topic]["alerts"] == 360


def test_plain_lines_where_there_is_no_terminal(kafka: str, stream: str) -> None:
    watched = run("monitor", kafka, stream, "--exit-on-eof")
    assert watched.status == 0
    assert f"  {stream}  360 alerts  " in watched.lines[-1]
    assert watched.lines[-1].endswith(": 120 alerts")
    assert "\x1b" not in watched.out


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (["nowhere"], 1, "there is no topic nowhere"),
        ([], 2, "TOPIC"),
        (["nowhere", "--format", "html"], 2, "not one of 'live', 'text', 'json'"),
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


def test_lag_of_the_groups_that_read_a_topic(kafka: str, fresh: str) -> None:
    how = ("--group", f"group-{fresh}", "--exit-on-eof")
    assert run("print", kafka, fresh, *how, "-n", 100).status == 0
    watched = run("monitor", kafka, fresh, "--exit-on-eof", "--format", "json")
    assert watched.objects[-1]["groups"][f"group-{fresh}"] == {fresh: 260}
    assert run("print", kafka, fresh, *how).status == 0
    watched = run("monitor", kafka, fresh, "--exit-on-eof", "--format", "json")
    assert watched.objects[-1]["groups"][f"group-{fresh}"] == {fresh: 0}


@pytest.mark.slow
def test_visits_are_complete_when_nothing_comes_any_more(kafka: str, fresh: str) -> None:
    process = start("monitor", kafka, fresh, "--format", "json", "--refresh", 0.5)
    assert process.stdout is not None
    visits: dict[str, dict[str, Any]] = {}
    seen = set()
    while len(visits) < 3 or not all(each["complete"] for each in visits.values()):
        visits = json.loads(process.stdout.readline())["topics"][fresh]["visits"]
        seen |= {each["complete"] for each in visits.values()}
    assert seen == {True, False}
    for each in visits.values():
        assert (each["late"], each["seconds"]) == (0, None)
    assert stop(process).status == 0


class Terminal:
    """A command in a terminal of its own, and what it has written there so far."""

    def __init__(self, *arguments: object, columns: int = 120) -> None:
        self._end, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env=clean_environment(TERM="xterm-256color"),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(inside)
        self.written = ""

    def shows(self, text: str) -> bool:
        while select.select([self._end], [], [], 0.1)[0]:
            try:
                content = os.read(self._end, 65536).decode(errors="replace")
            except OSError:
                break
            self.written += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", content)
        return text in self.written

    def press(self, key: str) -> None:
        self.written = ""
        os.write(self._end, key.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._end)


@pytest.mark.parametrize("columns", [60, 140])
def test_screen_and_its_keys(kafka: str, stream: str, columns: int) -> None:
    terminal = Terminal("monitor", kafka, stream, columns=columns)
    try:
        until(lambda: terminal.shows("360"), "the alerts")
        until(
            lambda: terminal.shows("p pause · s sort (as named) · l latency (Kafka) · ? help"),
            "the keys",
        )
        if columns > 100:
            until(lambda: terminal.shows("longest"), "all columns")
        else:
            assert not terminal.shows("longest")
        terminal.press("?")
        until(lambda: terminal.shows("behind a number"), "the help")
        terminal.press("h")
        terminal.press("p")
        until(lambda: terminal.shows("paused"), "it pauses")
        terminal.press("s")
        until(lambda: terminal.shows("sort (by alerts)"), "it sorts")
        terminal.press("q")
        until(lambda: terminal.shows("q quit") and terminal.process.poll() is not None, "the end")
        assert terminal.process.returncode == 0
    finally:
        terminal.close()


def test_names_of_groups_are_shown_as_they_are(kafka: str, fresh: str) -> None:
    groups = (f"evil[/x]{fresh}", f"[bold]{fresh}", f"esc\x1b[31m{fresh}")
    members = [start("print", kafka, fresh, "--group", each, "-n", 3) for each in groups]
    assert [finish(each).status for each in members] == [0, 0, 0]
    terminal = Terminal("monitor", kafka, fresh, columns=140)
    try:
        until(lambda: terminal.shows("evil[/x]") and terminal.shows("[bold]"), "their names")
        assert "\x1b[31m" not in terminal.written
        terminal.press("q")
        until(lambda: terminal.process.poll() is not None, "the end")
        assert terminal.process.returncode == 0
    finally:
        terminal.close()


def test_waiting_for_a_topic_is_no_lost_connection(kafka: str, topic: str) -> None:
    process = start("monitor", kafka, f"{topic}-*", "--format", "json", "--refresh", 0.2)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["connected"] is True
    assert stop(process).status == 0
