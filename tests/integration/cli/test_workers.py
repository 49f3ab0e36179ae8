"""``--workers`` and ``--part``: several processes share one command's work, with one account."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import raw_kafka
from tests.support.commands import finish, run, send_visits, start, stop, until
from tests.support.filters import own_filter, totals
from tests.support.raw_kafka import values
from tests.support.samples import bodies_in

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(each) for each in path.read_text().split()]


def sent_bodies(kafka: str, topic: str) -> list[bytes]:
    return sorted(message.value[5:] for message in raw_kafka.read(kafka, topic))


@pytest.fixture
def everything(topic: str, tmp_path: Path) -> tuple[str, list[object]]:
    """A filter that lets all through, and the options with which a group runs it."""
    name = f"Everything{topic.split('-')[-1]}"
    path = own_filter(tmp_path, name, "return True", "()")
    return name, ["--filters", path, "--group", f"group-{topic}", "--format", "json"]


def test_workers_send_each_visit_together(kafka: str, topic: str, visits: Path) -> None:
    how = ("--data", visits, "--interval", 0, "--workers", 3, "--format", "json")
    sent = run("send", kafka, topic, *how)
    assert sent.status == 0, sent.err
    assert [(each["planned"], each["acknowledged"]) for each in sent.objects] == [(120, 120)] * 3
    assert [Path(each["file"]) for each in sent.objects] == sorted(visits.glob("*.avro"))
    assert len({each["visit"] for each in sent.objects}) == 3
    assert sent.err.startswith("sent: 360 of 360 alerts acknowledged") and sent.err.count("\n") == 1
    expected = [body for path in visits.glob("*.avro") for body in bodies_in(path)]
    assert sent_bodies(kafka, topic) == sorted(expected)


def test_parts_of_a_visit_make_the_whole(kafka: str, topic: str, visits: Path) -> None:
    file = sorted(visits.glob("*.avro"))[0]
    for more in (("--part", "1/2"), ("--part", "2/2", "--workers", 2)):
        how = ("--data", file, "--interval", 0, "--limit", 101, *more)
        assert run("send", kafka, topic, *how).status == 0
    assert sent_bodies(kafka, topic) == sorted(bodies_in(file)[:101])


def test_a_visit_with_a_file_a_detector(
    kafka: str, topic: str, visits: Path, tmp_path: Path
) -> None:
    night = tmp_path / "night" / "visit-7"
    night.mkdir(parents=True)
    files = sorted(visits.glob("*.avro"))[:2]
    for number, file in enumerate(files):
        shutil.copy(file, night / f"detector-{number}.avro")
    how = ("--data", night.parent, "--interval", 0, "--limit", 200, "--format", "json")
    for workers in (1, 2):
        sent = run("send", kafka, topic, *how, "--workers", workers)
        assert sent.status == 0, sent.err
        (visit,) = sent.objects
        assert (visit["planned"], visit["acknowledged"]) == (200, 200)
        assert visit["file"] == str(night)
    expected = [*bodies_in(files[0]), *bodies_in(files[1])[:80]]
    assert sent_bodies(kafka, topic) == sorted(expected * 2)


def test_damaged_file_is_told_and_ends_with_1(
    kafka: str, topic: str, visits: Path, tmp_path: Path
) -> None:
    file = tmp_path / "damaged.avro"
    whole = sorted(visits.glob("*.avro"))[0].read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    how = ("--data", file, "--interval", 0, "--format", "json")
    alone = run("send", kafka, topic, *how)
    together = run("send", kafka, topic, *how, "--workers", 2)
    assert (alone.status, together.status) == (1, 1)
    assert "damaged after record" in together.err
    assert together.objects[0]["acknowledged"] == alone.objects[0]["acknowledged"] > 0


@linux
def test_worker_that_is_killed_ends_sending(kafka: str, topic: str, visits: Path) -> None:
    how = ("--data", visits, "--interval", 1, "--repeat", 0, "--workers", 2, "--format", "json")
    sending = start("send", kafka, topic, *how)
    assert sending.stdout is not None
    sending.stdout.readline()
    os.kill(workers_of(sending)[1], signal.SIGKILL)
    ended = finish(sending)
    assert ended.status == 1
    assert "error: worker 2 was killed (signal 9)" in ended.err
    for each in ended.objects:
        assert each["planned"] == each["acknowledged"] + each["failed"]


def test_ctrl_c_ends_workers_that_send_with_one_account(
    kafka: str, topic: str, visits: Path
) -> None:
    how = ("--data", visits, "--interval", 1, "--repeat", 0, "--workers", 2, "--format", "json")
    sending = start("send", kafka, topic, *how)
    assert sending.stdout is not None
    first = sending.stdout.readline()
    ended = stop(sending)
    assert ended.status == 0, ended.err
    count = 120 * first.count("\n") + sum(each["acknowledged"] for each in ended.objects)
    assert f"sent: {count} of " in ended.err
    assert len(raw_kafka.read(kafka, topic)) == count


def test_workers_filter_with_one_account_and_one_cap(
    kafka: str, topic: str, visits: Path, everything: tuple[str, list[object]]
) -> None:
    name, how = everything
    send_visits(kafka, topic, visits)
    raw_kafka.write(kafka, topic, [b"no alert"])
    filtered = run("filter", kafka, topic, *how, "--workers", 2, "--cap", 7, "--exit-on-eof")
    assert filtered.status == 3
    assert filtered.err.count("undecodable message") == 1
    assert [(each["seen"], each["passed"]) for each in filtered.objects] == [
        *[(120, 7)] * 3,
        (361, 21),
    ]
    account = totals(filtered)[name]
    assert (account["capped"], account["undecodable"]) == (339, 1)
    assert len(raw_kafka.read(kafka, name)) == 21


@linux
def test_worker_that_is_killed_is_started_again(
    kafka: str, topic: str, visits: Path, everything: tuple[str, list[object]]
) -> None:
    name, how = everything
    raw_kafka.make(kafka, topic, 4)
    filtering = start("filter", kafka, topic, *how, "--workers", 2, "--cap", 50)
    until(lambda: raw_kafka.members(kafka, f"group-{topic}") == 2, "there are two")
    for kill in (True, False):
        send_visits(kafka, topic, visits)
        if kill:
            os.kill(workers_of(filtering)[0], signal.SIGKILL)
    judged = lambda: sum(raw_kafka.committed(kafka, f"group-{topic}").values())  # noqa: E731
    until(lambda: judged() == 720, "all is judged")
    ended = stop(filtering)
    assert ended.status == 0
    assert "was killed (signal 9) and is restarted" in ended.err
    passed = raw_kafka.read(kafka, name)
    assert len(passed) == 150 and len({*values(passed)}) > 100


@linux
def test_workers_end_when_who_has_started_them_is_killed(
    kafka: str, topic: str, visits: Path, everything: tuple[str, list[object]]
) -> None:
    send_visits(kafka, topic, visits)
    filtering = start("filter", kafka, topic, *everything[1], "--workers", 2)
    until(lambda: raw_kafka.members(kafka, f"group-{topic}") == 2, "there are two")
    workers = workers_of(filtering)
    filtering.kill()
    filtering.communicate()
    until(lambda: not any(Path(f"/proc/{each}/cmdline").exists() for each in workers), "they end")


def test_no_more_workers_than_partitions(
    kafka: str, topic: str, visits: Path, everything: tuple[str, list[object]]
) -> None:
    send_visits(kafka, topic, visits, partitions=1)
    filtered = run("filter", kafka, topic, *everything[1], "--workers", 8, "--exit-on-eof")
    assert filtered.status == 0
    assert filtered.err == f"{topic} has partitions for only 1 of 8 workers\n"
    assert totals(filtered)[everything[0]]["seen"] == 360


@pytest.mark.slow
def test_a_reader_that_has_had_enough_ends_all(
    kafka: str, topic: str, visits: Path, everything: tuple[str, list[object]]
) -> None:
    send_visits(kafka, topic, visits)
    filtering = start("filter", kafka, topic, *everything[1], "--workers", 2)
    assert filtering.stdout is not None
    filtering.stdout.close()
    assert filtering.wait(60) == 0
    assert filtering.stderr is not None
    assert "Traceback" not in filtering.stderr.read()
    filtering.stderr.close()


@pytest.mark.parametrize(
    ("command", "options", "what"),
    [
        ("send", ["--workers", "0"], "--workers"),
        ("send", ["--part", "3/2"], "3/2 is not a valid part"),
        ("send", ["--part", "0/2"], "0/2 is not a valid part"),
        ("send", ["--part", "half"], "half is not a valid part"),
        ("filter", ["1", "--workers", "-1"], "--workers"),
    ],
)
def test_wrong_shares(command: str, options: list[str], what: str) -> None:
    ended = run(command, "localhost:1", "alerts", *options)
    assert ended.status == 2
    assert ended.err.startswith("error: ") and what in ended.err and ended.err.count("\n") == 1


@pytest.mark.parametrize("command", [("send", "alerts"), ("filter", "alerts", "1")])
def test_missing_broker_is_told_once(command: tuple[str, ...]) -> None:
    name, *rest = command
    ended = run(name, "localhost:1", *rest, "--workers", 3)
    assert ended.status == 1
    assert ended.err.startswith("error: Kafka cannot be reached") and ended.err.count("\n") == 1


def test_workers_that_cannot_go_on_are_told_of(
    kafka: str, topic: str, visits: Path, everything: tuple[str, list[object]], tmp_path: Path
) -> None:
    send_visits(kafka, topic, visits)
    # It can be run once, by who starts the workers.
    mine = tmp_path / "mine.py"
    once = f"\nimport pathlib\npathlib.Path({str(tmp_path / 'once')!r}).touch(exist_ok=False)\n"
    mine.write_text(mine.read_text() + once)
    ended = run("filter", kafka, topic, *everything[1], "--workers", 2, "--exit-on-eof")
    assert ended.status == 2
    assert "the filter's code raised FileExistsError" in ended.err
    assert "error: worker " in ended.err and "ended with status 2" in ended.err
