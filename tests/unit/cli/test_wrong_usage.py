"""Wrong usage of every command: exit status 2, and one line that says what to do instead."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from alertstream.cli.app import app, status_of
from alertstream.cli.options.reading import end_of, observed, start_of

PROGRAM = get_command(app)
NOWHERE = "127.0.0.1:1"
"""Nothing listens there: what is wrong is said before that is noticed."""
READERS = {
    "print": ("print", NOWHERE, "alerts"),
    "monitor": ("monitor", NOWHERE, "alerts"),
    "notify": ("notify", NOWHERE, "alerts", "--preview"),
    "filter": ("filter", NOWHERE, "alerts", "--output", "chosen"),
}
FOR_READERS = [
    (("--where", "snr >"), "--where is not a valid expression"),
    (("--where", "snr > 5 and ssnr > 3"), "no schema has the field ssnr"),
    (("--where", "open('x')"), "is not allowed"),
    (("--filters", "none.py", "--where", "snr > 5"), "there is no such file · none.py"),
    (("--filters", "empty.py", "--where", "snr > 5"), "the file defines no filter · empty.py"),
    (("--filters", "broken.py", "--where", "snr > 5"), "raised ZeroDivisionError"),
    (("--filters", "wrong.toml", "--where", "snr > 5"), "not a Python file · wrong.toml"),
    (("--where", "snr > 5", "--from", "yesterday"), "yesterday is not a valid --from · give earli"),
    (("--where", "snr > 5", "--until", "-3"), "-3 is not a valid --until"),
    (("--where", "snr > 5", "--from", "2026-11-25", "--until", "2026-11-24"), "start (--from) af"),
    (("--where", "snr > 5", "--from", "9", "--until", "4"), "after its end (--until) · 9, 4"),
    (("--where", "snr > 5", "--group", "a", "--group-prefix", "b"), "does not begin with b"),
    (("--where", "snr > 5", "--security-protocol", "SASL_SSL"), "needs a user name"),
    (("--where", "snr > 5", "--registry", "nowhere"), "not a valid registry URL"),
    (("--where", "snr > 5", "--survey", "none.toml"), "none.toml"),
    (("--where", "snr > 5", "--format", "fits"), "'fits' is not one of 'text'|'live'|--format"),
]
OTHERS = [
    ("notify h:1 alerts", "give one of --to, --exec and --preview"),
    ("notify h:1 alerts --preview --exec cat", "give one of --to, --exec and --preview"),
    ("notify h:1 alerts --preview --at-most 10", "10 is not a valid --at-most"),
    ("notify h:1 alerts --preview --at-most 0/min", "0/min is not a valid --at-most"),
    ("notify h:1 alerts --preview --at-most 3/week", "such as 10/min or 2/h"),
    ("notify h:1 alerts --preview --template none.txt", "cannot be read: No such file"),
    ("notify h:1 alerts --preview --title {{nmae}}", "names what is not there: nmae"),
    ("notify h:1 alerts --exec no-such-program", "there is no command no-such-program"),
    ("notify h:1 alerts --to phone", "there is no service phone in the configuration file"),
    ("notify h:1 alerts --to nowhere://x", "nowhere://… is not a service that apprise knows"),
    ("notify h:1 alerts --to slack://x", "the URL is not valid for Slack"),
    ("filter h:1 alerts nothing", "there is no filter nothing · give the file"),
    ("filter h:1 alerts 1-200", "give a number from 1 to 100"),
    ("filter h:1 alerts --where snr>5", "--where and --output belong together"),
    ("filter h:1 alerts 1 --visit 5", "--visit belongs to --all"),
    ("filter h:1 alerts 0", "there is no filter 0 · give a number from 1 to 100"),
    ("filter h:1 alerts 7-3", "there is no filter 7-3"),
    ("filter h:1 alerts Filter01x", "did you mean Filter001?"),
    ("filter h:1 alerts", "no filter is named"),
    ("filter h:1 alerts 1 --cap -1", "'--cap'"),
    ("filter h:1 alerts 1 --delivery at-most-once", "not one of 'exactly-once', 'at-least-once'"),
    ("filter h:1", "Missing argument 'TOPIC'"),
    ("filter --dry-run", "Option '--dry-run' requires an argument"),
    ("filter --dry-run .", "no filter is named"),
    ("filter --dry-run . 101", "there is no filter 101"),
    ("filter --dry-run . 1 --format csv", "'csv' is not one of 'text', 'json'"),
    ("filter --dry-run . h:1 t 1", "takes no BROKER and TOPIC · h:1"),
    ("filter h:1 t 1 --dry-run .", "takes no BROKER and TOPIC · h:1"),
    ("filter h:1 alerts 1 --guard 5%", "--guard belongs to --dry-run"),
    ("filter h:1 alerts 1 --picture a.png", "--picture belongs to --dry-run"),
    *(
        (f"filter --dry-run . 1 --guard {each}", f"{each} is not a valid --guard · give a share")
        for each in ("500%", "abc", "1", "-5%", "nan", "5%%", "1e-3")
    ),
    ("filter --dry-run . 1 --picture a.gif", "is a PNG file · a.gif · name it FILE.png"),
    ("filter --dry-run . 1 --list", "exclude each other"),
    ("filter --list 1", "--list and --new take no FILTER · 1"),
    ("filter --new A B", "--list and --new take no FILTER · B"),
    ("filter --list --filters none.py", "there is no such file · none.py"),
    ("filter --list --new A", "exclude each other"),
    ("filter --new 1x", "not a valid filter name"),
    ("print h:1 alerts --fields snr,bandd", "did you mean band?"),
    ("print h:1 alerts --without diaSource", "no schema has a field diaSource that can be null"),
    ("print h:1 alerts --save alerts.fits", "not a known kind of file"),
    ("print h:1 alerts x", "'INTERVAL'"),
    ("print h:1", "Missing argument 'TOPIC'"),
    ("monitor h:1 alerts --refresh 0", "'--refresh'"),
    ("send h:1 alerts --interval -1", "'--interval'"),
    ("send h:1 alerts --interval inf", "inf is not a valid interval"),
    ("send h:1 alerts --subject record", "--subject has no effect without --registry"),
    ("send", "Missing argument 'BROKER'"),
    ("simulate out --alerts 0", "--alerts must be"),
    ("broker --port 99999", "99999 is not a valid --port"),
    ("doctor h:1 --acls", "--acls needs TOPIC"),
    ("doctor h:1 alerts --output x", "--output needs --acls"),
    ("doctor h:x", "'h:x' is not HOST:PORT"),
    ("doctor h:1 --format html", "not one of 'text', 'json'"),
    ("demo --nope", "No such option: --nope"),
    ("schema nope", "No such command 'nope'"),
    ("schema show", "Missing argument"),
    ("nope", "No such command 'nope'"),
    ("doctor h:1 t --acls --output ''", "the value of --output is empty · give one"),
    ("print h:1 t --save ''", "the value of --save is empty"),
    ("send h:1 t --ca-file=", "the value of --ca-file is empty"),
    ("filter h:1 t 1 -g ''", "the value of -g is empty"),
    ("schema list --schemas ''", "the value of --schemas is empty"),
    ("watchlist build ''", "an argument is empty"),
    ("--config '' print h:1 t", "the value of --config is empty"),
    ("print h:1 t --group-prefix '' -n x", "'-n'"),
    ("--config empty.toml print h:1 t", "save is empty · empty.toml · give a value, or remove it"),
    ("--config none.toml print h:1 t", "the file cannot be read: No such file or directory · none"),
    ("--config wrong.toml --profile x print h:1 t", "there is no profile x · wrong.toml"),
]
FILES = {
    "empty.py": "",
    "empty.toml": "group_prefix = ''\n[print]\nsave = ['']\n",
    "broken.py": "1 / 0",
    "wrong.toml": "[monitor]\nrefresh = 'abc'\n[print]\nsave = [3]\nfrom = 'noon'\n"
    "[send]\nlimit = [1]\n",
}
"""Files in the folder that the commands are run in."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [each for each in os.environ if each.startswith("ALERTSTREAM_")]:
        monkeypatch.delenv(name)
    # To make it takes longer than all else.
    monkeypatch.setattr("typer.main.get_command", lambda app: PROGRAM)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    loggers = [logging.getLogger(name) for name in ("alertstream", "aiokafka", "asyncio")]
    before = [(each.handlers[:], each.propagate, each.level) for each in loggers]
    yield
    for each, (handlers, propagate, level) in zip(loggers, before, strict=True):
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str], status: int = 2) -> str:
    """The only line that is written."""
    assert status_of(arguments) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    return err


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize(("options", "said"), FOR_READERS)
def test_all_that_read(
    command: str, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    err = error_of([*READERS[command], *options], capsys)
    assert any(each in err for each in said.split("|"))


@pytest.mark.parametrize(("line", "said"), OTHERS)
def test_others(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in error_of(shlex.split(line), capsys)


def test_usage_errors_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["print", "h:1", "t", "--nope", "--log-format", "json"]) == 2
    said = json.loads(capsys.readouterr().err)
    assert said["message"].startswith("No such option: --nope")
    assert (said["level"], said["todo"]) == ("error", "see alertstream print --help")


@pytest.mark.parametrize(
    ("closed", "status", "lines"),
    [("<&- >&-", 1, ["error: the output cannot be written: Bad file descriptor"]), ("2>&-", 0, [])],
)
def test_streams_that_the_caller_has_closed(closed: str, status: int, lines: list[str]) -> None:
    command = f"exec {sys.executable} -m alertstream schema diff 10.0 11.0 {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == status
    assert [each.partition(" · ")[0] for each in done.stderr.splitlines()] == lines


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 1 / 0", "ZeroDivisionError: division by zero (line 2: x = 1 / 0)"),
        ("def x(:", "SyntaxError: invalid syntax (line 2: def x(:)"),
        ("import nothing_there", "ModuleNotFoundError: No module named 'nothing_there' (line 2"),
        ("raise SystemExit(0)", "SystemExit: 0 (line 2: raise SystemExit(0))"),
        ("class A(AlertFilter):\n    'No passes.'", "the file defines no filter"),
        (
            "class A(AlertFilter):\n    def __init__(self): self.x = y\n"
            "    def passes(self, alert): return True",
            "NameError: name 'y' is not defined",
        ),
        (
            "class Größer(AlertFilter):\n    def passes(self, alert): return True",
            "Größer is not a valid name for a topic",
        ),
    ],
)
def test_bad_filter_file(code: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(f"from alertstream import AlertFilter\n{code}\n", encoding="utf-8")
    assert said in error_of(["filter", NOWHERE, "alerts", "--filters", "mine.py"], capsys)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("filter --dry-run none 1", "no such file or folder · none"),
        ("filter --dry-run /dev/null 1", "not an Avro container file"),
        ("print h:1 alerts --schemas /dev/null", "not a folder · /dev/null · --schemas takes a"),
    ],
)
def test_work_that_cannot_be_done(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in error_of(line.split(), capsys, status=1)


def test_times_of_observations() -> None:
    start, end = start_of("2026-11-24"), end_of("2026-11-24T12:00")
    found = observed(start, end)
    assert "--where 'mjd >= 61368.00000 and mjd < 61368.50000'" in found
    assert "--where 'mjd < 61368.50000'" in observed("earliest", end)
    assert observed(5, None) == ""


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("monitor", "Invalid value for '--refresh'"),
        ("print", "Invalid value for '--save'"),
        ("send", "limit takes one value"),
    ],
)
def test_what_a_file_sets_names_the_file(
    command: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if command != "send":
        Path("wrong.toml").write_text(FILES["wrong.toml"].partition("[send]")[0])
    err = error_of(["--config", "wrong.toml", command, NOWHERE, "t"], capsys)
    assert said in err
    assert "wrong.toml" in err


def test_our_own_errors_name_the_file_or_the_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("other.toml").write_text("[print]\nfrom = 'noon'\n")
    given = ["--config", "other.toml", "print", NOWHERE, "t"]
    assert "noon is not a valid --from · other.toml · give" in error_of(given, capsys)
    assert "other.toml" not in error_of([*given, "--from", "soon"], capsys)
    monkeypatch.setenv("ALERTSTREAM_UNTIL", "never")
    err = error_of([*given, "--from", "latest"], capsys)
    assert "never is not a valid --until · ALERTSTREAM_UNTIL · give" in err


class Full(io.StringIO):
    """A file on a full disk."""

    def write(self, text: str, /) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("line", ["--help", "--version", "schema list", "filter --list"])
def test_output_that_cannot_be_written(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", Full())
    assert status_of(line.split()) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: the output cannot be written: No space left on device · make ro")
    assert err.count("\n") == 1
