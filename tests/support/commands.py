"""Runs the installed ``alertstream`` as users do, and waits for conditions."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support import preloaded

import alertstream

COMMAND = str(Path(sys.executable).with_name("alertstream"))
LIMIT = 90
FOR_PYTHON = ("PYTHON", "LC_", "LANG")
"""Variables that Python looks at when it starts."""
JAVA_STARTS_FAST = "-XX:TieredStopAtLevel=1"
"""Less compiling: Kafka starts in 60 % of the processor time."""


@dataclass
class Finished:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line, parse_constant=_no_constant) for line in self.lines]


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def clean_environment(**more: str) -> dict[str, str]:
    # Test runners set a terminal's width, which these commands do not have.
    foreign = ("ALERTSTREAM_", "COLUMNS", "LINES")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    fixed = {"XDG_CONFIG_HOME": "/nonexistent", "JAVA_TOOL_OPTIONS": JAVA_STARTS_FAST}
    # Where matplotlib is installed, astropy imports it, and it would create that folder.
    fixed["MPLCONFIGDIR"] = tempfile.gettempdir()
    return kept | fixed | more


def start(*arguments: object, out: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    """Start the installed ``alertstream``; ``out`` gets its output, to be read while it runs."""
    with (out or Path(os.devnull)).open("w") as file:
        return subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=file if out else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(**environment),
        )


def finish(process: subprocess.Popen[str], limit: float = LIMIT) -> Finished:
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"still running after {limit} s: {process.args}\n{out}\n{err}")
    return _without_traceback(Finished(process.returncode, out, err))


def _without_traceback(finished: Finished) -> Finished:
    assert "Traceback" not in finished.err, finished.err
    return finished


def run(*arguments: object, limit: float = LIMIT, **environment: str) -> Finished:
    """Run a command to its end, in a process that has imported it already if possible."""
    if any(name.startswith(FOR_PYTHON) for name in environment):
        return finish(start(*arguments, **environment), limit)
    given = [str(each) for each in arguments]
    status, out, err = preloaded.run(given, clean_environment(**environment), limit)
    if status is None:
        pytest.fail(f"still running after {limit} s: {given}\n{out}\n{err}")
    return _without_traceback(Finished(status, out, err))


def help_example(command: str) -> list[str]:
    """The arguments of the example in a command's help."""
    shown = run(*command.split(), "--help", COLUMNS="200")
    assert shown.status == 0
    (found,) = re.findall(r"Example: alertstream (.*?)\n\n", shown.out, re.DOTALL)
    return found.split()


def send_visits(broker: str, topic: str, *data: Path, partitions: int = 4) -> None:
    """Send files, or folders of files, for a test of anything but ``alertstream send``."""
    sent = asyncio.run(alertstream.send(broker, topic, data, partitions=partitions))
    assert sent.acknowledged == sent.planned > 0, sent.error


def until(condition: Callable[[], Any], what: str, limit: float = 30) -> Any:
    """Wait until a condition is true; return its value."""
    give_up = time.monotonic() + limit
    while not (result := condition()):
        assert time.monotonic() < give_up, f"not in {limit} s: {what}"
        time.sleep(0.02)
    return result


def stop(process: subprocess.Popen[str], how: signal.Signals = signal.SIGINT) -> Finished:
    process.send_signal(how)
    return finish(process, 30)


def one_error(ended: Finished, *words: str, status: int = 1) -> None:
    """The command failed, and wrote nothing but one line, which has all of these words."""
    assert ended.status == status, ended
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert [word for word in words if word not in line] == [], line
