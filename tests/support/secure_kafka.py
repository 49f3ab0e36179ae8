"""A local Kafka with TLS, users and their rights, started with ``alertstream broker``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest
from tests.support.commands import finish, start, stop, until
from tests.support.credentials import USERS, Files

from alertstream.kafka.connection import Connection

KINDS = {"topic": 2, "group": 3, "cluster": 4, "transaction": 5}
OPERATIONS = {"all": 2, "read": 3, "write": 4, "create": 5, "describe": 8, "describe configs": 10}
ANY, LITERAL, PREFIXED, ALLOW = 1, 3, 4, 3
Right = tuple[str, str, str, str]
"""User, kind of resource, its name, which may end in an asterisk, and operation."""


@contextmanager
def broker(folder: Path, *options: object) -> Iterator[str]:
    """A Kafka for as long as the context lasts; gives its address."""
    ready = folder / "ready"
    process = start("broker", "--port", 0, "--ready-file", ready, *options, TMPDIR=str(folder))
    try:
        until(lambda: ready.exists() or process.poll() is not None, "Kafka is ready", 90)
        assert process.poll() is None, finish(process).err
        yield ready.read_text().strip()
    finally:
        ended = stop(process)
    assert ended.status == 0
    assert ended.err == "" or "--debug" in options


def secured(files: Files) -> tuple[object, ...]:
    """The options of a broker with TLS and users."""
    return ("--security-protocol", "SASL_SSL", *server(files), "--users", files / "users")


def server(files: Files) -> tuple[object, ...]:
    return ("--cert-file", files / "server.pem", "--key-file", files / "server.key")


def admin(address: str, files: Files) -> Connection:
    """How the user connects who may do everything."""
    return Connection(
        bootstrap=address,
        security_protocol="SASL_SSL",
        username="admin",
        password=USERS["admin"],
        ca_file=files / "ca.pem",
    )


async def grant(connection: Connection, rights: Sequence[Right]) -> None:
    """Give the users their rights, and wait until the broker knows them."""
    client = AIOKafkaAdminClient(**connection.settings())
    await client.start()
    try:
        for user, kind, name, operation in rights:
            pattern = PREFIXED if name.endswith("*") else LITERAL
            what = (KINDS[kind], name.rstrip("*"), pattern, f"User:{user}", "*")
            answer = await client._send_request(
                CreateAclsRequest(*what, OPERATIONS[operation], ALLOW)
            )
            assert [code for code, _ in answer.creation_responses] == [0]
        everything = DescribeAclsRequest(ANY, None, ANY, None, None, ANY, ANY)
        known = 0
        async with asyncio.timeout(30):
            while known < len(rights):
                answer = await client._send_request(everything)
                known = sum(len(found) for *_, found in answer.resources)
    finally:
        await client.close()


async def topics_and_groups(connection: Connection) -> tuple[set[str], set[str]]:
    """All that there is, Kafka's own topics with it."""
    client = AIOKafkaAdminClient(**connection.settings())
    await client.start()
    try:
        groups = await client.list_consumer_groups()
        return set(await client.list_topics()), {name for name, *_ in groups}
    finally:
        await client.close()
