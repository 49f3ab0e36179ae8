"""The server of metrics and probes, with clients as they should be and others."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from alertstream.errors import UsageError
from alertstream.monitoring import server
from alertstream.monitoring.server import Served, serving

Ask = Callable[[bytes], Awaitable[bytes]]


def serve(work: Callable[[Served, Ask, int], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        told: list[str] = []
        async with serving(0, "127.0.0.1", told.append) as served:
            port = int(told[0].split(":")[3].partition("/")[0])

            async def ask(request: bytes) -> bytes:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request)
                answer = await reader.read()
                writer.close()
                return answer

            return await asyncio.wait_for(work(served, ask, port), 20)

    return asyncio.run(main())


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_an_address_of_ipv6_is_told_as_urls_have_it() -> None:
    async def main() -> list[str]:
        told: list[str] = []
        async with serving(0, "::1", told.append):
            return told

    with socket.socket(socket.AF_INET6) as there, suppress(OSError):
        there.bind(("::1", 0))
        assert re.fullmatch(r"metrics: http://\[::1\]:\d+/metrics", asyncio.run(main())[0])
        return
    pytest.skip("this machine has no IPv6")


def test_pages() -> None:
    async def work(served: Served, ask: Ask, port: int) -> None:
        assert (await ask(get("/healthz"))).endswith(b"\r\n\r\nalive\n")
        unready = await ask(get("/readyz"))
        assert unready.startswith(b"HTTP/1.1 503 ")
        assert unready.endswith(b"\r\n\r\nnot connected to Kafka yet\n")
        assert b"\nalertstream_ready 0.0\n" in await ask(get("/metrics"))
        served.unready, served.figures = str, lambda: {"alerts": {("t",): 1}}
        ready = await ask(get("/readyz?verbose"))
        assert ready.startswith(b"HTTP/1.1 200 OK\r\n")
        assert ready.endswith(b"\r\n\r\nready\n")
        await asyncio.sleep(server.SAME_ANSWER_TIMEOUT)
        metrics = await ask(get("/metrics"))
        assert b"Content-Type: text/plain; charset=utf-8; version=0.0.4\r\n" in metrics
        assert b'\nalertstream_alerts_total{topic="t"} 1.0\n' in metrics
        head = await ask(get("/metrics", "HEAD"))
        assert head.endswith(b"Connection: close\r\n\r\n")

    serve(work)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/"), 404),
        (get("/../etc/passwd"), 404),
        (get("/metrics", "POST"), 405),
        (b"\xff\xfe\r\n\r\n", 405),
        (b"\r\n\r\n", 405),
    ],
)
def test_what_is_not_there(request_: bytes, status: int) -> None:
    answer = serve(lambda served, ask, port: ask(request_))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.count(b"\n") == 6


@pytest.mark.hostile("12: clients of /metrics that ask without an end")
def test_a_request_without_end_is_not_kept() -> None:
    async def work(served: Served, ask: Ask, port: int) -> None:
        with suppress(ConnectionError):
            assert await ask(b"GET /" + 100_000 * b"x") == b""
        assert b"alive" in await ask(get("/healthz"))

    serve(work)


@pytest.mark.hostile("12: many clients of /metrics, each of which says nothing")
def test_silent_clients_keep_no_probe_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 1.0)

    async def work(served: Served, ask: Ask, port: int) -> None:
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
        begin = time.monotonic()
        assert b"alive" in await ask(get("/healthz"))
        assert time.monotonic() - begin < 0.9
        # None of them is kept.
        rest = await asyncio.gather(*(each.read() for each, _ in opened), return_exceptions=True)
        assert time.monotonic() - begin < 3
        assert all(each == b"" or isinstance(each, ConnectionError) for each in rest)
        assert b"alive" in await ask(get("/healthz"))
        for _, writer in opened:
            writer.close()

    serve(work)


@pytest.mark.parametrize("address", ["127.0.0.1", "no host of this name", "192.0.2.1"])
def test_an_address_that_cannot_be_used_is_one_clear_line(address: str) -> None:
    async def twice() -> None:
        told: list[str] = []
        async with serving(0, "127.0.0.1", told.append):
            port = int(told[0].split(":")[3].partition("/")[0])
            async with serving(port, address):
                pass

    with pytest.raises(UsageError, match=r"^metrics cannot be served \(.+\) · .+ · choose another"):
        asyncio.run(twice())


def test_without_the_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with serving(0, "127.0.0.1"):
            pass

    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UsageError, match="metrics need packages") as raised:
        asyncio.run(main())
    assert "pip install 'alertstream[metrics]'" in str(raised.value)
