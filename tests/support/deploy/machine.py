"""One machine in place of the Swarm's twelve: maps the stack's names and paths to local ones."""

from __future__ import annotations

import os
import re
import secrets
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.deploy.stack import Service, command_line, kafka_properties

from alertstream.kafka.connection import Connection
from alertstream.local.broker.node import HOST, Node, kafka_command
from alertstream.system.process import Child

HUBS = ("kafka1", "kafka2", "kafka3")
CLIENTS, CONTROLLER, NODES, METRICS = 9092, 9093, 9094, 9100
SECRETS = ("node", "observatory", "subscriber", "partner")


@dataclass
class Machine:
    """This machine in place of twelve: the stack's names and paths, mapped to local ones.

    :param temporary: whether the folder goes if this Python is killed.
    """

    folder: Path
    temporary: bool = True
    places: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [f"{hub}:{port}" for hub in HUBS for port in (CLIENTS, CONTROLLER, NODES)]
        ports = _free_ports(len(names) + 1)
        self.places = {name: f"{HOST}:{port}" for name, port in zip(names, ports, strict=False)}
        self.places[str(METRICS)] = str(ports[-1])
        self.places["/var/lib/kafka/data"] = "data"
        self.places["/tmp/observatory.properties"] = str(self.folder / "observatory.properties")
        for target in ("/run/secrets", "/saved", "/data"):
            place = self.folder / Path(target).name
            place.mkdir()
            self.places[target] = str(place)
        for user in SECRETS:
            self.secret(user).write_text(secrets.token_hex(24))
            self.secret(user).chmod(0o600)

    def secret(self, user: str) -> Path:
        """Return the file with a user's password."""
        return Path(self.places["/run/secrets"]) / f"{user}-password"

    def login(self, user: str, address: str, mechanism: str) -> Connection:
        """Return how a user connects; the partner's only user is the mirror."""
        name = "mirror" if user == "partner" else user
        return Connection(address, "SASL_PLAINTEXT", mechanism, name, self.secret(user).read_text())

    def saved(self, consumer: int) -> Path:
        """Return the output file of a consumer."""
        return Path(self.here(f"/saved/Filter{consumer:03}.avro"))

    def here(self, text: str) -> str:
        """Return a text of the stack with local names and paths."""
        names = "|".join(map(re.escape, sorted(self.places, key=len, reverse=True)))
        return re.sub(rf"(?<!\w)(?:{names})\b", lambda found: self.places[found[0]], text)

    def hub(self, number: int, service: Service, java: Sequence[str]) -> Node:
        """Make a hub of the stack, at the address that the others expect."""
        name = HUBS[number - 1]
        folder = self.folder / name
        node = Node(
            number=number,
            port=int(self.here(f"{name}:{CLIENTS}").split(":")[1]),
            command=kafka_command(java, folder),
            folder=folder,
            log_file=folder.with_suffix(".log"),
            temporary=self.folder if self.temporary else None,
        )
        properties = kafka_properties(service)
        properties["listeners"] = properties["listeners"].replace("://:", f"://{name}:")
        here = {key: self.here(value) for key, value in properties.items()}
        node.write_files(here, service["environment"]["CLUSTER_ID"])
        node.log_file.touch()
        return node

    def child(self, name: str, service: Service, *more: str, number: int = 1) -> Child:
        """Make a replica of a service, by its number; ``more`` is appended to its command."""
        path = (str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])
        own = {"PATH": os.pathsep.join(path), "XDG_CONFIG_HOME": str(self.folder)}
        foreign = {key: each for key, each in os.environ.items() if "ALERTSTREAM_" not in key}
        for key, value in service["environment"].items():
            own[key] = self.here(value).replace("{{.Task.Slot}}", str(number))
        return Child(
            command=[*map(self.here, command_line(service)), *more],
            folder=self.folder,
            log_file=self.folder / f"{name}.log",
            temporary=self.folder if self.temporary else None,
            environment=foreign | own,
        )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]
