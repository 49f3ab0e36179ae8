"""A local Kafka with TLS, users and their rights, started with ``alertstream broker``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from tests.support.commands import finish, start, stop, until
from tests.support.credentials import USERS, Files

from alertstream.kafka.connection import Connection

Right = tuple[str, str, str, str]
"""User, operation, kind of resource, and its name, which may end in an asterisk."""


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


def secured(files: Files, rights: Sequence[Right] = ()) -> tuple[object, ...]:
    """The options of a broker with TLS and users, who have these rights."""
    acl = files.write("acl", "".join(f"{' '.join(each)}\n" for each in rights))
    given = ("--users", files / "users", "--acl", acl)
    return ("--security-protocol", "SASL_SSL", *server(files), *given)


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


async def topics_and_groups(connection: Connection) -> tuple[set[str], set[str]]:
    """All that there is, Kafka's own topics with it."""
    client = AIOKafkaAdminClient(**connection.settings())
    await client.start()
    try:
        groups = await client.list_consumer_groups()
        return set(await client.list_topics()), {name for name, *_ in groups}
    finally:
        await client.close()
