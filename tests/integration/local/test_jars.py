"""Kafka's jars are fetched once and checked at every start; nothing is ever half there."""

from __future__ import annotations

import base64
import os
import pty
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from jgo.config import GlobalSettings
from tests.support.commands import (
    COMMAND,
    clean_environment,
    one_error,
    run,
    start,
    stop,
)
from tests.support.processes import nothing_left

from alertstream.local.broker.java import fetch_jars, find_java, java_command
from alertstream.local.broker.node import BOOTSTRAP_CHECKPOINT, server_properties

STORE: Path = GlobalSettings.load().repo_cache
MIB = 1024 * 1024


@pytest.fixture(scope="session")
def jars() -> list[Path]:
    """The jars' places in the local Maven repository, relative to it."""
    return [jar.relative_to(STORE) for jar in fetch_jars()]


@contextmanager
def maven(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A Maven repository on this machine; return its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def fetching(folder: Path, url: str) -> dict[str, str]:
    """The environment in which jars are kept in a folder and fetched from an address."""
    (folder / "jgo.conf").write_text(f"[repositories]\ncentral = {url}\n")
    store = folder / "store"
    store.mkdir(exist_ok=True)
    return {
        "JGO_CONFIG_FILE": str(folder / "jgo.conf"),
        "M2_REPO": str(store),
        "NO_PROXY": "127.0.0.1",
    }


def send(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def send_stored(request: BaseHTTPRequestHandler) -> None:
    path = STORE / request.path[1:]
    if path.suffix == ".jar" and path.exists():
        send(request, path.read_bytes())
    else:
        request.send_error(404)


@pytest.mark.slow
def test_the_first_start_fetches_all_and_shows_it(
    jars: list[Path], temporary: Path, tmp_path: Path
) -> None:
    seen = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.path == f"/{jars[-1]}":
            seen.wait(30)
        send_stored(request)

    screen, terminal = pty.openpty()
    with maven(answer) as url:
        process = subprocess.Popen(
            [COMMAND, "broker", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=terminal,
            text=True,
            env=clean_environment(
                TMPDIR=str(temporary), TERM="xterm", COLUMNS="200", **fetching(tmp_path, url)
            ),
        )
        os.close(terminal)
        shown = ""
        while jars[-2].name not in shown:
            shown += os.read(screen, 4096).decode()
        seen.set()
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Kafka is ready at ")
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()
    os.close(screen)
    nothing_left(tmp_path)
    assert f"{len(jars)} files, only this once" in " ".join(shown.split())
    store = tmp_path / "store"
    assert {path.relative_to(store) for path in store.rglob("*") if path.is_file()} == {*jars}


def test_without_network(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        begin = time.monotonic()
        ended = run("broker", "--port", 0, **fetching(tmp_path, url))
    assert time.monotonic() - begin < 10
    assert ended.status == 1
    notice, error = ended.err.splitlines()
    assert "only this once" in notice
    assert error.startswith("error: Kafka could not be fetched (ConnectionError) · " + url)
    assert "needs the network" in error
    assert list((tmp_path / "store").iterdir()) == []


def test_a_repository_that_lacks_a_jar(tmp_path: Path) -> None:
    with maven(lambda request: request.send_error(404)) as url:
        ended = run("broker", "--port", 0, **fetching(tmp_path, url))
    assert ended.status == 1
    assert "error: Kafka could not be fetched" in ended.err.splitlines()[-1]
    assert "not found" in ended.err.splitlines()[-1]


def test_a_repository_that_sends_another_jar(tmp_path: Path) -> None:
    with maven(lambda request: send(request, b"another")) as url:
        ended = run("broker", "--port", 0, **fetching(tmp_path, url))
    assert ended.status == 1
    assert ".jar is not the expected file (sha256 " in ended.err.splitlines()[-1]
    assert list((tmp_path / "store").iterdir()) == []


def test_a_jar_that_was_changed(jars: list[Path], tmp_path: Path) -> None:
    environment = fetching(tmp_path, "http://127.0.0.1:1")
    for jar in jars:
        (tmp_path / "store" / jar).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "store" / jar).symlink_to(STORE / jar)
    changed = tmp_path / "store" / jars[7]
    changed.unlink()
    shutil.copy(STORE / jars[7], changed)
    with changed.open("ab") as file:
        file.write(b"\0")
    ended = run("broker", "--port", 0, **environment)
    one_error(ended, f"{changed.name} is not the expected file (sha256 ", f" {changed} ")


def test_a_signal_while_jars_are_fetched(tmp_path: Path) -> None:
    asked, ended = threading.Event(), threading.Event()

    def trickle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(100 * MIB))
        request.end_headers()
        asked.set()
        try:
            while not ended.wait(0.05):
                request.wfile.write(b"a" * 8192)
        except OSError:
            pass

    with maven(trickle) as url:
        process = start("broker", "--port", 0, **fetching(tmp_path, url))
        assert asked.wait(30)
        begin = time.monotonic()
        stopped = stop(process)
        assert time.monotonic() - begin < 5
        ended.set()
    assert stopped.status == 0
    assert "only this once" in stopped.err
    assert list((tmp_path / "store").iterdir()) == []


def test_a_new_cluster_is_what_kafkas_own_tool_makes(jars: list[Path], tmp_path: Path) -> None:
    """If Kafka's version was changed: the bytes to put into configuration.py are in the failure."""
    properties = server_properties(1, [1], [2]) | {"log.dirs": str(tmp_path)}
    config = tmp_path / "server.properties"
    config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    tool = ("kafka.tools.StorageTool", "format", "--cluster-id=9Vh2bQ0GRrKkY3xTz5mDuw")
    java = java_command(find_java(None), [STORE / jar for jar in jars])
    subprocess.run([*java, *tool, f"--config={config}"], check=True, stdout=subprocess.DEVNULL)
    made = (tmp_path / "bootstrap.checkpoint").read_bytes()
    assert timeless(made) == timeless(BOOTSTRAP_CHECKPOINT), base64.b64encode(made)


def timeless(checkpoint: bytes) -> bytes:
    """A file of record batches without their checksums, and without the time that they tell."""
    rest = b""
    while checkpoint:
        end = 12 + int.from_bytes(checkpoint[8:12], "big")
        batch, checkpoint = checkpoint[:end], checkpoint[end:]
        rest += batch[:17] + batch[21:27] + batch[43:]
    return rest
