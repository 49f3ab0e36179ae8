"""What people see besides data: notices, bars, and whom they do not bother."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.commands import run
from tests.support.terminal import ASCII, in_a_terminal

BAR = "━"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

pytestmark = pytest.mark.slow


def test_quiet_leaves_errors_and_statuses(kafka: str, stream: str, tmp_path: Path) -> None:
    how = ("print", kafka, stream, "-n", 5, "--save", tmp_path / "a.avro")
    loud = run(*how)
    quiet = run(*how, "-q")
    assert loud.err
    assert (quiet.out, quiet.err, quiet.status) == (loud.out, "", 0)
    assert run("print", kafka, "nowhere", "--quiet").err.startswith("error: there is no topic")
    assert run("print", kafka, "nowhere", "-q").status == 1
    assert run("print", kafka, stream, "-q", "--nonsense").status == 2


@pytest.mark.parametrize(
    "command",
    [
        ("simulate", "{folder}/night", "--visits", "1", "--alerts", "2"),
        ("send", "{kafka}", "{topic}-sent", "--interval", "0", "--limit", "2"),
        ("filter", "{kafka}", "{topic}", "1", "--exit-on-eof"),
        ("filter", "--dry-run", "{visits}", "1"),
        ("monitor", "{kafka}", "{topic}", "--exit-on-eof", "--format", "text"),
        ("doctor", "{kafka}", "{topic}"),
        ("schema", "list"),
        ("print", "{kafka}", "{topic}", "--exit-on-eof", "--stampFormat", "png"),
    ],
)
def test_every_command_can_be_quiet(
    kafka: str, stream: str, visits: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    named = {"kafka": kafka, "topic": stream, "visits": visits, "folder": tmp_path}
    done = run(*(each.format(**named) for each in command), "--quiet")
    assert (done.err, done.status) == ("", 0)
    assert done.out


def test_quiet_in_the_environment_and_the_file(kafka: str, stream: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("quiet = true\n")
    assert run("print", kafka, stream, "-n", 1, ALERTSTREAM_QUIET="1").err == ""
    assert run("print", kafka, stream, "-n", 1, "--config", config).err == ""


def test_one_value_in_the_file_where_several_are_possible(
    kafka: str, stream: str, tmp_path: Path
) -> None:
    config, saved = tmp_path / "config.toml", tmp_path / "a.avro"
    config.write_text(f'[print]\nsave = "{saved}"\n')
    done = run("print", kafka, stream, "-n", 3, "--config", config)
    assert done.err.endswith(f"3 saved in {saved}\n")


def test_bars_where_what_comes_is_not_seen(kafka: str, stream: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    commands = [
        ("print", kafka, stream, "--exit-on-eof"),
        ("filter", kafka, stream, "1", "--exit-on-eof", "--group", "shows-bars"),
        ("simulate", tmp_path / "night", "--visits", 1, "--alerts", 20),
        ("filter", "--dry-run", tmp_path / "night", "1"),
    ]
    for command in commands:
        assert BAR in in_a_terminal(*command, stdout=out).err
        assert BAR not in in_a_terminal(*command, "-q", stdout=out).err
        assert in_a_terminal(*command, stdout=out, **ASCII).err.isascii()
        assert "\x1b[38" not in in_a_terminal(*command, stdout=out, NO_COLOR="1").err
    assert BAR not in in_a_terminal(*commands[0]).out


def test_bars_leave_data_alone(kafka: str, topic: str, visits: Path, tmp_path: Path) -> None:
    data = ("--data", sorted(visits.iterdir())[0])
    how = ("send", kafka, topic, *data, "--interval", 0, "--format", "json")
    sent = in_a_terminal(*how, stdout=tmp_path / "out")
    (visit,) = sent.objects
    assert visit["acknowledged"] == 120
    assert '{"visit"' not in sent.err


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a host that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_who_waits_is_told_for_what(silent: str, tmp_path: Path) -> None:
    told = in_a_terminal("print", silent, "alerts", columns=20, stdout=tmp_path / "out")
    assert told.status == 1
    assert f"\r{f'waiting for {silent}'[:19]}\x1b[K" in told.err
    assert "\r\x1b[Kerror: Kafka cannot be reached" in told.err


@pytest.mark.parametrize(
    "command",
    [
        ("print", "{kafka}", "{topic}", "-n", "2"),
        ("print", "{kafka}", "{topic}", "-n", "1", "--show-cutouts"),
        ("print", "{kafka}", "nowhere"),
        ("doctor", "{kafka}", "{topic}"),
        ("filter", "--list"),
        ("filter", "--dry-run", "{visits}", "1"),
        ("schema", "diff", "10.0", "11.0"),
        ("monitor", "{kafka}", "{topic}", "--exit-on-eof"),
        ("print", "--help"),
        ("send", "{kafka}", "{topic}", "--data", "/nowhere"),
    ],
)
def test_terminals_that_know_ascii_only(
    kafka: str, stream: str, visits: Path, command: tuple[str, ...]
) -> None:
    named = {"kafka": kafka, "topic": stream, "visits": visits}
    done = in_a_terminal(*(each.format(**named) for each in command), **ASCII)
    shown = ESCAPES.sub("", done.out + done.err)
    assert shown.isascii()
    assert not re.search(r"\\[xuU]|\?", shown), shown


def test_a_file_name_that_no_encoding_has(kafka: str, tmp_path: Path) -> None:
    wrong = run(
        "send", kafka, "alerts", "--data", b"/nowhere/\xff\xe9".decode(errors="surrogateescape")
    )
    assert wrong.err.startswith("error: ")
    assert wrong.status == 1


@pytest.mark.parametrize("columns", [50, 60, 71, 80, 120])
def test_the_monitor_cuts_no_number(kafka: str, stream: str, columns: int) -> None:
    done = in_a_terminal("monitor", kafka, stream, "--exit-on-eof", columns=columns)
    shown = ESCAPES.sub("", done.out)
    lines = [line.rstrip() for line in shown.splitlines() if re.search(r"\b120\b", line)]
    assert len(lines) >= 2
    assert max(map(len, lines)) <= columns
    assert all(line.endswith(" 0") for line in lines)
