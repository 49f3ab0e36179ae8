"""Users' SCRAM credentials, which Kafka's own tools put into its metadata.

A new cluster is formatted with its users (KIP-900), and has them from the start. Where the users'
file has changed since the last start, ``kafka-configs`` sets the passwords that differ. Passwords
reach both tools in files that only the owner can read, since everybody sees a command line.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from alertstream.errors import LocalBrokerError
from alertstream.local.broker.node import (
    BOOTSTRAP_CHECKPOINT,
    server_properties,
    write_private,
    write_properties,
)
from alertstream.system.process import Child

HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
"""The hash function of each mechanism."""
ITERATIONS = 4096


@dataclass(frozen=True)
class ScramUsers:
    """The users of a cluster, and their transfer to Kafka.

    :param passwords: by user name; none if everybody is let in.
    :param java: the command that runs Java with Kafka's jars.
    :param folder: the cluster's folder.
    :param temporary: whether that is removed if this Python is killed.
    """

    passwords: Mapping[str, str] = field(repr=False)
    java: Sequence[str]
    folder: Path
    temporary: bool

    async def format(self) -> bytes:
        """Return the first metadata of a new cluster (``bootstrap.checkpoint``), users included.

        :raises LocalBrokerError: Kafka's storage tool fails.
        """
        if not self.passwords:
            return BOOTSTRAP_CHECKPOINT
        # The result does not depend on the cluster's id.
        arguments = ["format", "--config=server.properties", "--cluster-id=any"]
        for user, mechanism in product(self.passwords, HASHES):
            credential = scram_credential(mechanism, user, self.passwords[user])
            arguments.append(f"--add-scram={credential}")
        with TemporaryDirectory(dir=self.folder, prefix=".tool-") as name:
            place = Path(name)
            write_properties(place / "server.properties", server_properties(1, [1], [2]))
            write_private(place / "arguments", "\n".join(arguments))
            await self._run(place, "kafka.tools.StorageTool", "@arguments")
            checkpoint = (place / "data" / "bootstrap.checkpoint").read_bytes()
        self._remember(self.passwords)
        return checkpoint

    async def update(self, address: str, login: Mapping[str, str]) -> None:
        """Set the passwords that a running cluster lacks; removed users get a random one.

        :param login: the properties of an admin client.
        :raises LocalBrokerError: Kafka's configuration tool fails.
        """
        file = self.folder / "users.json"
        known: dict[str, str | None] = json.loads(file.read_text()) if file.exists() else {}
        wanted = {**{user: secrets.token_urlsafe() for user in known}, **self.passwords}
        changed = [user for user, password in wanted.items() if known.get(user) != password]
        if not self.passwords or not changed:
            return
        # After an interruption, all of them are set again.
        self._remember(dict.fromkeys(wanted))
        with TemporaryDirectory(dir=self.folder, prefix=".tool-") as name:
            place = Path(name)
            write_properties(place / "login", login)
            # Kafka accepts one credential of a user at a time.
            for user, mechanism in product(changed, HASHES):
                write_properties(place / "new", {mechanism: f"password={wanted[user]}"})
                await self._run(
                    *(place, "kafka.admin.ConfigCommand", "--alter"),
                    *("--bootstrap-server", address, "--command-config", "login"),
                    *("--entity-type", "users", "--entity-name", user),
                    *("--add-config-file", "new"),
                )
        self._remember(self.passwords)

    async def _run(self, place: Path, tool: str, *arguments: str) -> None:
        child = Child(
            command=[*self.java, tool, *arguments],
            folder=place,
            log_file=place / "log",
            temporary=self.folder if self.temporary else place,
        )
        if await child.run():
            raise LocalBrokerError(f"Kafka's {tool} has failed: {child.log()}")

    def _remember(self, passwords: Mapping[str, str | None]) -> None:
        """Store the passwords that Kafka knows; None is one that it may or may not know."""
        write_private(self.folder / "users.json", json.dumps(passwords))


def scram_credential(mechanism: str, user: str, password: str) -> str:
    """Return a salted and hashed password (RFC 5802) as Kafka's storage tool reads it."""
    salt = secrets.token_bytes(24)
    salted = hashlib.pbkdf2_hmac(HASHES[mechanism], password.encode(), salt, ITERATIONS)
    text, salted_text = (base64.b64encode(each).decode() for each in (salt, salted))
    hashed = f'salt="{text}",saltedpassword="{salted_text}"'
    return f"{mechanism}=[name={user},iterations={ITERATIONS},{hashed}]"
