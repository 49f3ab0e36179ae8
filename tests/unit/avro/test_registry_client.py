"""The registry's client against servers that are not a registry."""

from __future__ import annotations

import asyncio
import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry_service import reply, server
from tests.support.samples import official_schema

from alertstream.avro.registry import MAX_LOOKUPS, RegistrySchemas
from alertstream.avro.registry_client import RefusedError, RegistryClient
from alertstream.avro.wire import pack
from alertstream.errors import RegistryError, SchemaError, UsageError


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def kept(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.avsc"))


def answers(status: int, body: bytes = b"", **headers: str) -> Any:
    return lambda handler: reply(handler, status, body, **headers)


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b'"' + bytes(1_000_000))
    except OSError:
        handler.close_connection = True


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"220 mail.example ESMTP\r\n")
    handler.close_connection = True


@pytest.mark.parametrize(
    ("kind", "answer", "what"),
    [
        (RegistryError, answers(200, b"<html>"), "it answers 200, but not in JSON"),
        (RegistryError, answers(200, b"[" * 100_000), "not in JSON"),
        (RegistryError, answers(200, b"[1]"), "not that of a registry"),
        (RegistryError, answers(200, b"{}"), "not that of a registry"),
        (RegistryError, answers(200, b'{"schema": 1}'), "not that of a registry"),
        (SchemaError, answers(200, b'{"schema": "{"}'), "it is not valid JSON"),
        (SchemaError, answers(200, b'{"schema": "{}"}'), "not a valid Avro schema"),
        (SchemaError, answers(200, b'{"schema": "\\"int\\""}'), "not the schema of an Avro record"),
        (SchemaError, answers(200, b'{"schema": "{}", "schemaType": "JSON"}'), "of JSON"),
        (RegistryError, answers(200, b'{"schema": "{}", "references": [1]}'), "not that of"),
        (RegistryError, answers(200, b'{"schema": "{}", "references": 1}'), "not that of"),
        (RegistryError, answers(404, b"<html>no such page"), "it may need a path, as in http"),
        (RegistryError, answers(404, b'{"message": "no page"}'), "this is not a schema registry"),
        (SchemaError, answers(404, b'{"error_code": 40403, "message": "n"}'), "7 is unknown to"),
        (RegistryError, answers(401), "requires a login (401)"),
        (RefusedError, answers(403), "requires a login (403)"),
        (RegistryError, answers(302, Location="/again"), "it redirects without end"),
        (RegistryError, answers(302, Location="ftp://h/"), "it redirects to an invalid URL"),
        (RegistryError, answers(302, Location="http://"), "it redirects to an invalid URL"),
        (RegistryError, answers(418), "it answers 418"),
        (RegistryError, endless, "its answer is larger than"),
        (RegistryError, no_http, "it does not speak HTTP"),
    ],
)  # fmt: skip
def test_wrong_answers(kind: type[Exception], answer: Any, what: str, cache: Path) -> None:
    with server(answer) as url, pytest.raises(kind) as caught:
        asyncio.run(RegistrySchemas(RegistryClient(url), cache=cache).look_up(7))
    assert type(caught.value) is kind, "and nothing that may pass"
    assert what in str(caught.value)
    assert url in str(caught.value)
    assert not kept(cache)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("nowhere", "'nowhere' is not a valid registry URL"),
        ("ftp://h", "is not a valid registry URL"),
        ("http://", "is not a valid registry URL"),
        ("http://h:port", "is not a valid registry URL"),
        ("http://h:99999", "is not a valid registry URL"),
        ("http://h/?a=b", "is not a valid registry URL"),
        ("http://ada:correct-horse@h", "the registry's URL must not contain a login"),
        ("ada:correct-horse@h", "the registry's URL must not contain a login"),
        ("http://ada:correct-horse@[", "the registry's URL must not contain a login"),
        ("http://[", "'http://[' is not a valid registry URL"),
    ],
)  # fmt: skip
def test_urls_that_are_not_valid(url: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        RegistryClient(url)
    assert what in str(caught.value)
    assert "correct-horse" not in str(caught.value)


def test_logins_that_are_not_valid() -> None:
    with pytest.raises(UsageError, match="needs a password"):
        RegistryClient("http://h", "ada")
    with pytest.raises(UsageError, match="cannot contain a colon"):
        RegistryClient("http://h", "ada:x", "secret")


KNOWN = json.dumps({"schema": json.dumps(official_schema("10.0"))}).encode()
UNKNOWN = b'{"error_code": 40403, "message": "Schema not found"}'


@pytest.mark.hostile("10: 20,000 messages, each with another schema id that is unknown")
def test_ids_that_nobody_knows_are_asked_for_at_a_bounded_rate() -> None:
    asked, connections = list[str](), set[Any]()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        connections.add(handler.client_address)
        known = handler.path.endswith(("/7", "/8"))
        reply(handler, 200 if known else 404, KNOWN if known else UNKNOWN)

    async def read(url: str) -> None:
        schemas = RegistrySchemas(RegistryClient(url))
        strange = [pack(number, b"x") for number in range(100_000, 120_000)]
        for start, number in ((0, 7), (10_000, 8)):
            # Whatever strangers send, the schema of a burst is found.
            messages = [*strange[start : start + 10_000], *[pack(number, b"x")] * 2]
            assert await schemas.ready(messages, asyncio.Event())
            assert schemas.by_id(number)["name"] == "lsst.v10_0.alert"
        assert len(asked) < 300
        with pytest.raises(SchemaError, match="unknown to the registry"):
            schemas.by_id(100_000)
        with pytest.raises(SchemaError, match="240 others were unknown"):
            schemas.by_id(119_999)

    with server(answer, protocol="HTTP/1.1") as url:
        asyncio.run(read(url))
    assert len(connections) <= 2 * MAX_LOOKUPS + 1


@pytest.mark.hostile("10: a schema id larger than any registry's, at which some registries fail")
def test_impossible_id_is_not_asked_for() -> None:
    async def read(url: str) -> None:
        schemas = RegistrySchemas(RegistryClient(url))
        assert await schemas.ready([pack(2**32 - 1, b"x")], asyncio.Event())
        with pytest.raises(SchemaError, match="unknown to the registry"):
            schemas.by_id(2**32 - 1)

    with server(answers(500)) as url:
        asyncio.run(read(url))


@pytest.mark.hostile("10: a schema id that the registry refuses to give, unlike others")
@pytest.mark.parametrize("status", [400, 403])
def test_one_id_that_is_refused_stops_nobody(status: int) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        known = handler.path.endswith("/7")
        reply(handler, 200 if known else status, KNOWN if known else b"{}")

    async def read(url: str) -> None:
        schemas = RegistrySchemas(RegistryClient(url))
        with pytest.raises(RegistryError):
            await schemas.ready([pack(8, b"x")], asyncio.Event())
        assert await schemas.ready([pack(8, b"x"), pack(7, b"x")], asyncio.Event())
        assert schemas.by_id(7)["name"] == "lsst.v10_0.alert"
        with pytest.raises(SchemaError, match="the registry refuses to give schema id 8"):
            schemas.by_id(8)

    with server(answer) as url:
        asyncio.run(read(url))


@pytest.mark.hostile("15: what a registry without TLS said is not kept for one with TLS")
def test_cache_tells_schemes_apart(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alertstream.avro.registry.COMMAND_TIMEOUT", 0)
    with server(answers(200, KNOWN)) as url:
        asyncio.run(RegistrySchemas(RegistryClient(url), cache=cache).look_up(7))
    assert len(kept(cache)) == 1
    asyncio.run(RegistrySchemas(RegistryClient(url), cache=cache).look_up(7))
    with pytest.raises(RegistryError):
        secure = RegistryClient(url.replace("http:", "https:"))
        asyncio.run(RegistrySchemas(secure, cache=cache).look_up(7))
