"""Users' passwords for SCRAM (RFC 5802), salted and hashed, written into a Kafka that runs.

Kafka's client library lacks the two requests that this takes, AlterUserScramCredentials and
DescribeUserScramCredentials (KIP-554); they are defined here.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from alertstream.errors import SecurityError
from alertstream.kafka.connection import Connection, mapped_errors

HASHES = {1: "sha256", 2: "sha512"}
"""Kafka's numbers of SCRAM-SHA-256 and SCRAM-SHA-512."""
FEWEST_ITERATIONS = 4096
APPLY_LIMIT = 30.0
"""Seconds that the nodes get to take over new passwords."""

_TEXT, _TAGS = CompactString("utf-8"), ("tags", TaggedFields)


class _AlterScramResponse(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 51, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", CompactArray(("user", _TEXT), ("code", Int16), ("message", _TEXT), _TAGS)),
        _TAGS,
    )


class _AlterScramStruct(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, FLEXIBLE_VERSION = 51, 0, True
    RESPONSE_TYPE = _AlterScramResponse
    SCHEMA = Schema(
        ("deletions", CompactArray(("name", _TEXT), ("mechanism", Int8), _TAGS)),
        (
            "upsertions",
            CompactArray(
                ("name", _TEXT),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class _DescribeScramResponse(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 50, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("code", Int16),
        ("message", _TEXT),
        (
            "results",
            CompactArray(
                ("user", _TEXT),
                ("code", Int16),
                ("message", _TEXT),
                ("credentials", CompactArray(("mechanism", Int8), ("iterations", Int32), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class _DescribeScramStruct(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, FLEXIBLE_VERSION = 50, 0, True
    RESPONSE_TYPE = _DescribeScramResponse
    SCHEMA = Schema(("users", CompactArray(("name", _TEXT), _TAGS)), _TAGS)


class _AlterScram(Request[_AlterScramStruct]):  # type: ignore[misc]
    API_KEY = 51

    def __init__(self, deletions: list[Any], upsertions: list[Any]) -> None:
        self._fields: tuple[Any, ...] = (deletions, upsertions, {})

    def build(self, struct: type[_AlterScramStruct]) -> _AlterScramStruct:
        return struct(*self._fields)


class _DescribeScram(Request[_DescribeScramStruct]):  # type: ignore[misc]
    API_KEY = 50

    def build(self, struct: type[_DescribeScramStruct]) -> _DescribeScramStruct:
        return struct(None, {})


Credentials = set[tuple[str, int, int]]
"""Who is let in: user, mechanism, iterations."""


async def set_passwords(connection: Connection, passwords: Mapping[str, str]) -> None:
    """Give Kafka these users' passwords, and return when all its brokers know them and no others.

    :raises BrokerError: Kafka cannot be reached, or refuses them.
    """
    # A number that hardly comes twice tells whether a broker knows this password or an older one.
    iterations = FEWEST_ITERATIONS + secrets.randbelow(FEWEST_ITERATIONS)
    wanted = {(name, mechanism, iterations) for name in passwords for mechanism in HASHES}
    with mapped_errors(connection):
        admin = AIOKafkaAdminClient(**connection.settings())
        try:
            async with asyncio.timeout(APPLY_LIMIT):
                await admin.start()
                there = await _credentials(admin)
                # Kafka takes no two changes for the same user in a request.
                for mechanism in HASHES:
                    stale: list[Any] = [
                        (name, mechanism, {})
                        for name, known, _ in there
                        if known == mechanism and name not in passwords
                    ]
                    salted = [
                        _salted(name, mechanism, iterations, password)
                        for name, password in passwords.items()
                    ]
                    _check(await admin._send_request(_AlterScram(stale, salted)))
                for node in (await admin.describe_cluster())["brokers"]:
                    await _until_known(admin, node["node_id"], wanted)
        finally:
            await admin.close()


def _check(answer: _AlterScramResponse) -> None:
    for user, code, message, _ in answer.results:
        if code:
            raise SecurityError(f"Kafka does not take the password of {user} ({message})")


async def _until_known(admin: AIOKafkaAdminClient, node: int, wanted: Credentials) -> None:
    while True:
        if await _credentials(admin, node) == wanted:
            return
        await asyncio.sleep(0.02)


async def _credentials(admin: AIOKafkaAdminClient, node: int | None = None) -> Credentials:
    answer = await admin._send_request(_DescribeScram(), node)
    return {
        (user, mechanism, iterations)
        for user, _, _, credentials, _ in answer.results
        for mechanism, iterations, _ in credentials
    }


def _salted(name: str, mechanism: int, iterations: int, password: str) -> tuple[Any, ...]:
    salt = secrets.token_bytes(24)
    key = hashlib.pbkdf2_hmac(HASHES[mechanism], password.encode(), salt, iterations)
    return (name, mechanism, iterations, salt, key, {})
