"""The resolver: one question at a time about a name, and the last answer where none comes."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from alertstream.system import resolver
from alertstream.system.resolver import Address, Resolver

ANSWER = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 9092))]
ADDRESSES = [Address(socket.AF_INET, socket.SOCK_STREAM, 6, ("192.0.2.7", 9092))]


class Server:
    """A name server that can lose questions, until it is told to answer them."""

    def __init__(self) -> None:
        self.questions = 0
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self, host: str, port: int, **_: Any) -> Any:
        self.questions += 1
        assert self.answers.wait(10)
        if host == "unknown":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host == "later":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return ANSWER


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "LOOK_UP_TIMEOUT", 0.05)
    monkeypatch.setattr(resolver, "KNOWN_TIMEOUT", 0.02)


def asked(server: Callable[..., Any], *hosts: str) -> list[Any]:
    """What comes of asking for several names at once."""

    async def main() -> list[Any]:
        names = Resolver(server)
        asking = (names.addresses(each, 9092) for each in hosts)
        return await asyncio.gather(*asking, return_exceptions=True)

    return asyncio.run(main())


def test_who_asks_for_one_name_at_once_shares_a_question() -> None:
    server = Server()
    server.answers.clear()

    async def main() -> None:
        names = Resolver(server)
        asking = asyncio.gather(*(names.addresses("kafka", 9092) for _ in range(3)))
        asyncio.get_running_loop().call_soon(server.answers.set)
        assert await asking == [ADDRESSES] * 3

    asyncio.run(main())
    assert server.questions == 1


def test_a_question_without_an_answer_goes_on_for_who_asks_next() -> None:
    server = Server()

    async def main() -> None:
        names = Resolver(server)
        server.answers.clear()
        for _ in range(3):
            with pytest.raises(socket.gaierror, match="no name server has answered for kafka"):
                await names.addresses("kafka", 9092)
        server.answers.set()
        assert await names.addresses("kafka", 9092) == ADDRESSES
        assert server.questions == 1

    asyncio.run(main())


@pytest.mark.parametrize("host", ["kafka", "later"])
def test_the_last_answer_is_used_where_none_comes(host: str) -> None:
    server = Server()

    async def main() -> None:
        names = Resolver(server)
        names._known[host, 9092] = ADDRESSES
        if host == "kafka":
            server.answers.clear()
        assert await names.addresses(host, 9092) == ADDRESSES
        server.answers.set()

    asyncio.run(main())


def test_a_name_that_is_gone_is_an_error_though_it_was_known() -> None:
    async def main() -> None:
        names = Resolver(Server())
        names._known["unknown", 9092] = ADDRESSES
        with pytest.raises(socket.gaierror, match="Name or service not known"):
            await names.addresses("unknown", 9092)

    asyncio.run(main())


def test_the_system_knows_this_machine() -> None:
    (found,) = asked(socket.getaddrinfo, "127.0.0.1")
    assert [each.sockaddr for each in found] == [("127.0.0.1", 9092)]


def test_a_name_that_cannot_be_one_is_an_error() -> None:
    (error,) = asked(socket.getaddrinfo, "a" * 64 + ".example")
    assert isinstance(error, OSError)
