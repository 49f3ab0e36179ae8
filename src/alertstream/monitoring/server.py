"""Answers Prometheus and probes over HTTP: ``/metrics``, ``/healthz`` and ``/readyz``.

It shares the command's event loop, so that an answer shows that the loop runs. The clients' number,
their requests and their time are bounded: none of them can hold up the work.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from alertstream.errors import UsageError, info
from alertstream.monitoring.metrics import Figures, text_of
from alertstream.system.extras import extra

MAX_CLIENTS = 20
MAX_REQUEST = 8192
"""Bytes of a request: its first line and its headers."""
REQUEST_TIMEOUT = 5.0
"""Seconds in which a client must have asked, and taken the answer."""
SAME_ANSWER_TIMEOUT = 0.5
"""Seconds for which the same figures are served again."""

_STATUS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
_TEXT = "text/plain; charset=utf-8"


@dataclass
class Served:
    """What is served; the command sets it as soon as it can.

    :param figures: returns its current metrics.
    :param unready: returns why it is not ready; empty if it is.
    """

    figures: Callable[[], Figures] = dict
    unready: Callable[[], str] = lambda: "not connected to Kafka yet"

    def all(self) -> Figures:
        """Return all figures."""
        return {"ready": {(): int(not self.unready())}, **self.figures()}


class _Server:
    def __init__(self, served: Served) -> None:
        self._served = served
        self._clients: deque[asyncio.StreamWriter] = deque()
        self._metrics = b""
        self._until = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a client; if there are too many, drop the one that has waited longest.

        Probes send their request at once, and are answered at once.
        """
        self._clients.append(writer)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popleft().transport.abort()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                # Then drain returns only when all is sent, unless the client is too slow.
                writer.transport.set_write_buffer_limits(0)
                writer.write(await self._answer(head))
                await writer.drain()
                writer.write_eof()
                # Closing a socket with unread input would reset it, and lose what was sent.
                await reader.read(MAX_REQUEST)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            with suppress(ValueError):
                self._clients.remove(writer)
            writer.transport.abort()

    async def _answer(self, head: bytes) -> bytes:
        method, target, *_ = [*head.split(b"\r\n", 1)[0].decode("latin-1").split(" "), "", ""]
        status, kind, content = 405, _TEXT, b"GET or HEAD\n"
        if method in ("GET", "HEAD"):
            status, kind, content = await self._page(target.partition("?")[0])
        lines = (
            f"HTTP/1.1 {status} {_STATUS[status]}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(content)}",
            "Connection: close\r\n\r\n",
        )
        return "\r\n".join(lines).encode() + (b"" if method == "HEAD" else content)

    async def _page(self, path: str) -> tuple[int, str, bytes]:
        """Return a page's status, content type, and content."""
        match path:
            case "/metrics":
                if time.monotonic() > self._until:
                    self._metrics = await asyncio.to_thread(text_of, self._served.all())
                    self._until = time.monotonic() + SAME_ANSWER_TIMEOUT
                return 200, f"{_TEXT}; version=0.0.4", self._metrics
            case "/healthz":
                return 200, _TEXT, b"alive\n"
            case "/readyz":
                unready = self._served.unready()
                return 503 if unready else 200, _TEXT, f"{unready or 'ready'}\n".encode()
        return 404, _TEXT, b"/metrics, /healthz or /readyz\n"


@asynccontextmanager
async def serving(
    port: int, address: str, told: Callable[[str], None] = lambda text: None
) -> AsyncIterator[Served]:
    """Serve what the context sets, as long as it lasts.

    :param port: 0 picks a free one, which is reported to ``told``.
    :raises UsageError: prometheus-client is not installed, or the port is taken.
    """
    with extra("metrics", "metrics"):
        import prometheus_client  # noqa: F401
    served = Served()
    try:
        server = await asyncio.start_server(_Server(served).serve, address, port, limit=MAX_REQUEST)
    except OSError as error:
        # A negative errno is that of an unknown host.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise UsageError(
            f"metrics cannot be served ({why})",
            where=f"{address}:{port}",
            todo="choose another --metrics-port or --metrics-address",
        ) from error
    if not port:
        host, free = server.sockets[0].getsockname()[:2]
        told(info(f"metrics: http://{f'[{host}]' if ':' in host else host}:{free}/metrics"))
    try:
        yield served
    finally:
        server.close()
