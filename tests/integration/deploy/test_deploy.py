"""Dockerfile and compose.yaml, read as a container engine reads them, and their commands run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.commands import run, start, stop, until

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
COMMANDS = ["send", "filter", "print", "monitor"]
BROKER = "kafka:9092"


def command_line(service: str) -> list[str]:
    return [*SERVICES[service]["entrypoint"], *SERVICES[service]["command"]]


def mount(service: str) -> dict[str, Any]:
    [volume] = SERVICES[service]["volumes"]
    return volume


@pytest.mark.parametrize("service", COMMANDS)
def test_a_command_is_one_that_alertstream_takes(service: str) -> None:
    program, command, broker, *rest = command_line(service)
    assert [program, command, broker] == ["alertstream", service, BROKER]
    # Port 1 refuses: a command line that is wrong never comes as far as to notice.
    tried = run(command, "127.0.0.1:1", *rest)
    assert (tried.status, tried.out) == (1, "")
    assert "Kafka cannot be reached" in tried.err


def test_what_is_sent_is_what_the_user_mounts(kafka: str, topic: str, visits: Path) -> None:
    variable = "ALERTSTREAM_SEND_DATA"
    assert SERVICES["send"]["environment"][variable] == mount("send")["target"]
    options = ("--interval", 0, "--format", "json")
    sent = run("send", kafka, topic, *options, **{variable: str(visits)})
    assert sent.status == 0, sent.err
    names = [Path(each["file"]).name for each in sent.objects]
    assert names == sorted(path.name for path in visits.glob("*.avro"))


@pytest.fixture
def empty_kafka(tmp_path: Path) -> Iterator[str]:
    """A Kafka without topics: the services' topics have names that other tests use as well."""
    ready = tmp_path / "ready"
    process = start("broker", "--port", 0, "--ready-file", ready)
    try:
        until(lambda: ready.exists() or process.poll() is not None, "Kafka is ready", 180)
        assert process.poll() is None, process.communicate()
        yield ready.read_text().strip()
    finally:
        assert stop(process).status == 0


@pytest.mark.slow
def test_services_follow_one_another(empty_kafka: str, tmp_path: Path) -> None:
    def alertstream(service: str, *more: object) -> list[str]:
        line = [empty_kafka if part == BROKER else part for part in command_line(service)[1:]]
        ended = run(*line, *more)
        assert ended.status == 0, ended.err
        return ended.lines

    stamps = tmp_path / "stamps"
    alertstream("send", "--interval", 0, "--limit", 12)
    alertstream("filter", "--exit-on-eof")
    printed = alertstream("print", "--exit-on-eof", "--format", "json", "--stampDir", stamps)
    final = json.loads(alertstream("monitor", "--exit-on-eof", "--format", "json")[-1])
    counted = [final["topics"][topic]["alerts"] for topic in command_line("monitor")[-2:]]
    visits = len(list((ROOT / "data").glob("*.avro")))
    assert counted == [12 * visits, len(printed)]
    assert 0 < len(printed) <= len(list(stamps.glob("*.fits")))
