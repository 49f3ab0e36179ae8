"""Addresses of host names, from the system's resolver, which may take long to say anything.

It waits 5 s for each question that a name server loses (``timeout`` in resolv.conf(5)), longer than
a broker may take to connect; and the threads that event loops ask in are few, and waited for at the
end.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

from alertstream.system.cancellation import in_background

LOOK_UP_TIMEOUT = 8.0
"""Seconds for an answer about a name of which nothing is known: one question may be lost."""
KNOWN_TIMEOUT = 1.0
"""Seconds for an answer, where there has been one before."""


class Address(NamedTuple):
    """What a socket is made of, and connects to."""

    family: int
    kind: int
    protocol: int
    sockaddr: Any


class Resolver:
    """Looks up host names for all clients of a process, each name once at a time.

    :param look_up: as :func:`socket.getaddrinfo`.
    """

    def __init__(self, look_up: Callable[..., Any] = socket.getaddrinfo) -> None:
        self._look_up = look_up
        self._asked: dict[tuple[str, int], Future[list[Address]]] = {}
        self._known: dict[tuple[str, int], list[Address]] = {}

    async def addresses(self, host: str, port: int) -> list[Address]:
        """Return the addresses of a host: the last that were known, if there is no answer in time.

        A look-up goes on when nobody waits for it any more, for who asks next.

        :raises OSError: it has none, or no answer has ever come.
        """
        at = host, port
        known = self._known.get(at)
        try:
            async with asyncio.timeout(KNOWN_TIMEOUT if known else LOOK_UP_TIMEOUT):
                self._known[at] = await asyncio.wrap_future(self._question(at))
        except (TimeoutError, socket.gaierror) as error:
            no_answer = isinstance(error, TimeoutError) or error.errno == socket.EAI_AGAIN
            if not no_answer:
                raise
            if not known:
                text = f"no name server has answered for {host}"
                raise socket.gaierror(socket.EAI_AGAIN, text) from error
        return self._known[at]

    def _question(self, at: tuple[str, int]) -> Future[list[Address]]:
        """Return what will have the answer: a question that is still open, or a new one."""
        asked = self._asked.get(at)
        if asked is None or asked.done():
            asked = self._asked[at] = in_background(partial(self._ask, *at))
        return asked

    def _ask(self, host: str, port: int) -> list[Address]:
        try:
            found = self._look_up(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise socket.gaierror(socket.EAI_NONAME, "not the name of a host") from None
        return [Address(family, kind, number, to) for family, kind, number, _, to in found]


RESOLVER = Resolver()
"""Asks the system; what one client has learnt, the others know."""
