"""What goes to standard error, as lines for people and as JSON."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.hostile_text import COMMANDS

from alertstream.cli.app import status_of
from alertstream.cli.options.log_format import log_as
from alertstream.cli.terminal.output import LOG, log_uncaught, notice, write_error
from alertstream.errors import Event, UsageError, info


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(threading, "excepthook", None)
    for hook in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, hook, getattr(sys, hook))
    before = LOG.handlers, LOG.level, LOG.propagate, logging.root.level
    yield
    log_as("text")
    LOG.handlers, LOG.propagate = before[0], before[2]
    LOG.setLevel(before[1])
    logging.root.setLevel(before[3])


def logged(capsys: pytest.CaptureFixture[str], *format: str) -> list[Any]:
    """What these are written as."""
    status_of([*format, "schema", "list", "--quiet"])
    LOG.setLevel(logging.NOTSET)
    capsys.readouterr()
    notice("plain")
    notice(info("well"))
    notice(Event("undecodable message: no content · t[3]@7", topic="t", partition=3, offset=7))
    notice(Event(COMMANDS, cause=COMMANDS))
    write_error(UsageError("it is wrong", where="--here", todo="right it"))
    write_error(ValueError("oh"))
    return capsys.readouterr().err.splitlines()


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    lines = logged(capsys)
    assert lines[:3] == ["plain", "well", "undecodable message: no content · t[3]@7"]
    assert lines[-2:] == [
        "error: it is wrong · --here · right it",
        "error: ValueError: oh · this should not happen · please report it with what --debug shows",
    ]


@pytest.mark.hostile("12: text in logs as JSON")
def test_json_is_an_object_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERTSTREAM_LOG_FORMAT", "json")
    lines = logged(capsys)
    assert all(line.isascii() and line.isprintable() for line in lines)
    found = [json.loads(line) for line in lines]
    assert all(datetime.fromisoformat(each.pop("time")).utcoffset() is not None for each in found)
    assert all(each.pop("pid") > 0 for each in found)
    plain, well, undecodable, hostile, wrong, unexpected = found
    assert plain == {"level": "warning", "message": "plain"}
    assert well == {"level": "info", "message": "well"}
    assert undecodable.pop("message").startswith("undecodable message: no content")
    assert undecodable == {"level": "warning", "topic": "t", "partition": 3, "offset": 7}
    assert hostile["message"] == hostile["cause"] == COMMANDS
    assert wrong == {
        **{"level": "error", "message": "it is wrong", "where": "--here", "todo": "right it"}
    }
    assert unexpected["message"].startswith("ValueError: oh")


def test_what_others_log_and_python_warns_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing else, such as pytest, listens to what is logged.
    monkeypatch.setattr(logging.root, "handlers", [])
    log_uncaught()
    status_of(["schema", "list", "--quiet", "--debug", "--log-format", "json"])
    capsys.readouterr()
    logging.getLogger("library.pool").debug("asked\n%d", 3)
    logging.getLogger("mine").error("oh %d", "no")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old\nthing", stacklevel=1)
    thread = threading.Thread(target=lambda: [][0])
    thread.start()
    thread.join()
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    debug, wrong, warned, uncaught = found
    assert (debug["message"], debug["level"], debug["logger"]) == (
        *("asked\n3", "debug", "library.pool"),
    )
    assert wrong["message"].startswith("oh %d (")
    assert "old\nthing" in warned["message"]
    assert uncaught["message"].startswith("IndexError: list index out of range")
    assert "Traceback" in uncaught["exception"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["print", "localhost:1", "--log-format", "json"],
        ["--broker", "localhost:1", "monitor", "x", "--refresh", "0", "--log-format", "json"],
        ["filter", "127.0.0.1:1", "x", "Filter0x1", "--log-format=JSON"],
        ["print", "localhost:1", "x", "--no-such-option", "--log-format", "json"],
        ["pritn", "localhost:1", "--log-format=json"],
    ],
)
def test_errors_are_events_too(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert status_of(arguments) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["level"] == "error"


def test_the_configuration_file_may_ask_for_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text('log_format = "json"')
    asked = ["--config", str(file), "print", "localhost:1", "x", "--no-such-option"]
    assert status_of(asked) == 2
    assert json.loads(capsys.readouterr().err)["level"] == "error"
    assert status_of([*asked, "--log-format", "text"]) == 2
    assert capsys.readouterr().err.startswith("error: No such option")


def test_a_format_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["schema", "list", "--log-format", "xml"]) == 2
    assert re.match(r"error: .*'xml' is not one of 'text', 'json'", capsys.readouterr().err)
