"""Real servers for messages to people: SMTP (aiosmtpd), and HTTP (aiohttp) that can be unwell."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP


@dataclass
class Requests:
    """What an HTTP server was asked.

    :param statuses: of its next answers; the last one is that of all further ones, 0 is none.
    """

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [200])
    asked: list[dict[str, Any]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        content = await request.read()
        body: dict[str, Any] = {"path": request.path, **request.query, "content": content}
        if request.content_type == "application/json":
            body |= await request.json()
        self.asked.append(body)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if not status:
            await asyncio.sleep(3600)
        if status < 300:
            self.taken.append(body)
        return web.json_response({}, status=status)


@contextmanager
def serving(serve: Callable[[], Awaitable[Callable[[], Awaitable[Any]]]]) -> Iterator[None]:
    """Run a server in a loop and a thread of its own; ``serve`` starts it, and returns its end."""
    loop = asyncio.new_event_loop()
    end = loop.run_until_complete(serve())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def http_server() -> Iterator[Requests]:
    """Serve on a port of its own; ``url`` is ``127.0.0.1:PORT``."""
    requests = Requests()

    async def serve() -> Callable[[], Awaitable[Any]]:
        app = web.Application(client_max_size=10**8)
        app.router.add_route("*", "/{path:.*}", requests.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        requests.url = "{}:{}".format(*runner.addresses[0][:2])
        return runner.cleanup

    with serving(serve):
        yield requests


class Mails:
    """Keeps the mails that come."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@contextmanager
def mail_server() -> Iterator[tuple[str, list[EmailMessage]]]:
    """Give the address of an SMTP server, ``127.0.0.1:PORT``, and the mails that it has taken."""
    mails, places = Mails(), []

    async def serve() -> Callable[[], Awaitable[Any]]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(mails, loop=loop), "127.0.0.1", 0)
        places.append("{}:{}".format(*server.sockets[0].getsockname()))

        async def end() -> None:
            server.close()

        return end

    with serving(serve):
        yield places[0], mails.mails
