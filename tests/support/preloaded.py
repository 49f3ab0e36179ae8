"""Runs commands in processes that have imported them already, in a fifth of the processor time.

A server imports what commands need and waits on a pipe; for each command it forks. Everything
else is as in a process of its own: environment, folder, output, signals and exit status.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SLOW = ("alertstream.local", "alertstream.printing.notifications")
"""Modules that few commands need, and that are slow to import."""
LIBRARIES = ("aiohttp", "aiokafka", "fastavro", "rich.progress", "rich.table", "uvloop")


def run(
    arguments: list[str], environment: dict[str, str], limit: float
) -> tuple[int | None, str, str]:
    """Run a command; return its exit status, output and errors.

    The status is None if it ran longer than ``limit`` seconds and was killed.
    """
    with TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        request = {"arguments": arguments, "environment": environment, "folder": str(Path.cwd())}
        status = _ask(request | {"out": str(out), "err": str(err)}, limit)
        return status, out.read_text(), err.read_text()


def _ask(request: dict[str, Any], limit: float) -> int | None:
    server = _server()
    assert server.stdin and server.stdout
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    pid, late = int(server.stdout.readline()), threading.Event()

    def kill() -> None:
        late.set()
        os.kill(pid, signal.SIGKILL)

    timer = threading.Timer(limit, kill)
    timer.start()
    try:
        status = int(server.stdout.readline())
    finally:
        timer.cancel()
    return None if late.is_set() else status


@cache
def _server() -> subprocess.Popen[str]:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    server = subprocess.Popen([sys.executable, "-P", __file__], text=True, **pipes)
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    import alertstream

    for module in pkgutil.walk_packages(alertstream.__path__, "alertstream."):
        if not module.name.startswith(SLOW) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    for line in requests:
        if pid := os.fork():
            print(pid, file=answers, flush=True)
            _, status = os.waitpid(pid, 0)
            print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
        else:
            requests.close()
            answers.close()
            _become(**json.loads(line))


def _become(
    arguments: list[str], environment: dict[str, str], folder: str, out: str, err: str
) -> None:
    """Turn this process into a command, which exits."""
    from alertstream.__main__ import main

    write = os.O_WRONLY | os.O_CREAT
    for number, (path, flags) in enumerate(((os.devnull, os.O_RDONLY), (out, write), (err, write))):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["alertstream", *arguments]
    main()


if __name__ == "__main__":
    # Ctrl-C in the terminal is meant for the tests.
    with suppress(KeyboardInterrupt):
        _serve()
