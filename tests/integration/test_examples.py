"""The help of every command has an example, and the examples work as they stand."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from tests.support.commands import finish, help_example, run, start

COMMANDS = (
    *("send", "filter", "print", "notify", "monitor", "load", "broker", "simulate", "doctor"),
    *("demo", "schema list", "schema show", "schema register", "schema diff", "schema check"),
    "watchlist build",
)
ENDLESS = ("monitor", "load", "broker")


def test_all_commands_are_here() -> None:
    shown = run("--help", COLUMNS="200").out.partition("Commands:")[2]
    names = re.findall(r"^  (\w+)  ", shown, re.MULTILINE)
    assert {*names} == {each.split()[0] for each in COMMANDS}


@pytest.fixture(scope="module")
def broker(kafka: str) -> str:
    """A Kafka that has what the examples need."""
    assert run("send", kafka, "alerts", "--interval", 0, "--limit", 20).status == 0
    assert run("filter", kafka, "alerts", "1", "--exit-on-eof").status == 0
    return kafka


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(each, marks=pytest.mark.slow if each in ("broker", "demo") else ())
        for each in COMMANDS
        if each != "schema register"
    ],
)
def test_example_of_the_help_works(
    broker: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [each.replace("localhost:9092", broker) for each in help_example(command)]
    assert given[: len(command.split())] == command.split()
    monkeypatch.chdir(tmp_path)
    for table in ("mine.csv", "vizier.vot"):
        # What is in it says what it is.
        Path(table).write_text("name,ra,dec\nM31,10.6847,41.2687\n", encoding="utf-8")
    if command in ENDLESS:
        more = ("--port", 0) if command == "broker" else ()
        process = start(*given, *more)
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert finish(process).status == 0
        return
    # The last of two counts, and three visits need not be waited for.
    more = ("--interval", 0) if command == "send" else ()
    ended = run(*given, *more, limit=120)
    assert ended.status == 0, ended.err
    assert ended.out
