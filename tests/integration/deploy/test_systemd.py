"""systemd's units: read by systemd, and their command lines run."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from tests.support.commands import COMMAND, finish, one_error, run, send_visits, start, until

FOLDER = Path(__file__).parents[3] / "deploy" / "systemd"
INSTANCES = {"filter": "1", "print": "Filter001", "monitor": "9100", "broker": "9092"}
COMMON = (FOLDER / "alertstream-.service.d" / "common.conf").read_text("utf-8")


def unit(name: str) -> str:
    return (FOLDER / f"alertstream-{name}@.service").read_text("utf-8")


def variables(*names: str) -> dict[str, str]:
    """What systemd reads of these files."""
    lines = [line for name in names for line in (FOLDER / name).read_text("utf-8").splitlines()]
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def line_of(name: str, folder: Path, broker: str) -> list[str]:
    """The words that systemd makes of an ``ExecStart``, with Kafka at ``broker``."""
    [text] = re.findall(r"^ExecStart=/opt/alertstream/bin/alertstream (.*)$", unit(name), re.M)
    more = [Path(each).name for each in re.findall(r"^EnvironmentFile=(.*)$", unit(name), re.M)]
    known = variables("kafka.env", *more) | {"BROKER": broker}
    instance = INSTANCES[name]
    places = {"%p": f"alertstream-{name}", "%i": instance, "%S": str(folder), "%C": str(folder)}
    text = re.sub(r"%[piSC]", lambda found: places[found[0]], text)
    return [
        word
        for each in text.split()
        for word in (known[each[1:]].split() if each.startswith("$") else [each])
    ]


def test_each_unit_is_listed() -> None:
    there = {path.name for path in FOLDER.glob("*.service")}
    assert there == {f"alertstream-{name}@.service" for name in INSTANCES}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize("wrong", [False, True])
def test_systemd_takes_the_units(wrong: bool, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("*.service"):
        text = path.read_text().replace("/opt/alertstream/bin/alertstream", COMMAND)
        path.write_text(text + "Restarts=always\n" * wrong)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(map(str, tmp_path.glob("*.service")))],
        capture_output=True,
        text=True,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    if wrong:
        assert "'Restarts'" in verified.stderr
    else:
        assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize("name", [each for each in INSTANCES if each not in ("broker", "filter")])
def test_a_command_is_one_that_alertstream_takes(name: str, tmp_path: Path) -> None:
    (tmp_path / "alertstream-print-Filter001").mkdir()
    one_error(run(*line_of(name, tmp_path, "127.0.0.1:1")), "Kafka cannot be reached")


@pytest.mark.slow
def test_the_broker_keeps_what_it_has_over_restarts(tmp_path: Path, visits: Path) -> None:
    (tmp_path / "alertstream-broker-9092").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    line = [{"9092": port}.get(each, each) for each in line_of("broker", tmp_path, "")]
    for words in (("send", "--data", visits, "--interval", 0), ("print", "--exit-on-eof")):
        out = tmp_path / words[0]
        process = start(*line, out=out)
        until(lambda out=out: "ready" in out.read_text(), "Kafka is ready", 60)
        assert run(words[0], f"127.0.0.1:{port}", "alerts", *words[1:]).status == 0
        process.send_signal(signal.SIGTERM)
        assert finish(process, 30).status == 0


@pytest.mark.slow
def test_a_filter_runs_until_it_is_stopped(
    kafka: str, topic: str, visits: Path, tmp_path: Path
) -> None:
    send_visits(kafka, topic, visits)
    line = [
        {"alerts": topic, "1-100": "1"}.get(each, each)
        for each in line_of("filter", tmp_path, kafka)
    ]
    out = tmp_path / "out"
    login = {"ALERTSTREAM_SECURITY_PROTOCOL": "PLAINTEXT"}
    process = start(*line, "--quiet", out=out, **login)
    until(lambda: out.read_text(), "a visit is filtered")
    process.send_signal(signal.SIGTERM)
    assert finish(process, 30).status == 0
    wrong = run(*line, "--cap", "many")
    assert f"RestartPreventExitStatus={wrong.status}" in COMMON.splitlines()
    assert "SuccessExitStatus=3" in COMMON.splitlines()
    grace = re.findall(r"^TimeoutStopSec=(\d+)$", COMMON, re.M)
    assert [int(each) for each in grace] == [30]
