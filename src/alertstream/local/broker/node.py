"""One Kafka process, broker and controller at once: its configuration, its start and its end."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alertstream.errors import LocalBrokerError
from alertstream.system.files import writing
from alertstream.system.process import Child

HOST = "127.0.0.1"
MAX_BATCH_BYTES = 12 * 1024 * 1024
"""A message of 10 MiB, and room for its headers."""
START_TIMEOUT = 60.0
STARTED = "Kafka Server started"
LOG_INTERVAL = 0.02
"""Seconds between looks into the log of a node that starts."""

# The feature levels of a new cluster, as the StorageTool of this Kafka writes them (a test
# compares). Running it takes another start of Java, a second or more.
BOOTSTRAP_CHECKPOINT = base64.b64decode(
    "AAAAAAAAAAAAAABHAAAAAALo5H1PACAAAAAAAAABog+WbxwAAAGiD5ZvHP//////////////////AAAAASoAAAAI"
    "AAAAAxYAAAAAAAAAAAAAAAAAAAAAAAAAAQAAALkAAAAAAjq/Ox4AAAAAAAMAAAGiD5ZvMgAAAaIPlm8y////////"
    "//////////8AAAAEOgAAAAEuAQwAEW1ldGFkYXRhLnZlcnNpb24AGwAAWgAAAgFOAQwAIWVsaWdpYmxlLmxlYWRl"
    "ci5yZXBsaWNhcy52ZXJzaW9uAAEAADQAAAQBKAEMAA5ncm91cC52ZXJzaW9uAAEAAEAAAAYBNAEMABR0cmFuc2Fj"
    "dGlvbi52ZXJzaW9uAAIAAAAAAAAAAAAFAAAAPwAAAAACHkTaVgAgAAAAAAAAAaIPlm8zAAABog+WbzP/////////"
    "/////////wAAAAEaAAAACAAAAAQGAAAAAA=="
)


def server_properties(
    number: int, ports: Sequence[int], controller_ports: Sequence[int]
) -> dict[str, str]:
    """Return the configuration of a node that lets everybody in.

    :param number: which node, from 1.
    :param ports: all nodes' ports for clients.
    :param controller_ports: all nodes' ports for the controllers among themselves.
    """
    copies, copies_needed = str(len(ports)), str((len(ports) + 1) // 2)
    voters = [f"{voter}@{HOST}:{port}" for voter, port in enumerate(controller_ports, start=1)]
    clients = f"CLIENTS://{HOST}:{ports[number - 1]}"
    return {
        "process.roles": "broker,controller",
        "node.id": str(number),
        "controller.quorum.voters": ",".join(voters),
        "listeners": f"{clients},CONTROLLER://{HOST}:{controller_ports[number - 1]}",
        "advertised.listeners": clients,
        "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENTS",
        "controller.listener.names": "CONTROLLER",
        # Relative to the node's folder: a properties file would need much escaping in a path.
        "log.dirs": "data",
        # A mistyped name must be an error.
        "auto.create.topics.enable": "false",
        "num.partitions": "4",
        "default.replication.factor": copies,
        "min.insync.replicas": copies_needed,
        # By default each of these gets fifty partitions at its first use: a second's wait.
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": copies_needed,
        "share.coordinator.state.topic.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": copies_needed,
        "message.max.bytes": str(MAX_BATCH_BYTES),
        "replica.fetch.max.bytes": str(MAX_BATCH_BYTES),
        "group.initial.rebalance.delay.ms": "0",
        # Brokers ask the controller that they know for so long, though there is another one by now:
        # by default half a minute, in which no topic is made, and no producer starts.
        "controller.socket.timeout.ms": "3000",
    }


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Write a file of Java properties."""
    # Within a line, JSON's escapes are valid in Java's properties.
    lines = (f"{key}={json.dumps(value)[1:-1]}\n" for key, value in properties.items())
    write_private(path, "".join(lines))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read: passwords may be in it."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def kafka_command(java: Sequence[str], folder: Path) -> list[str]:
    """Return how a node is run in its folder, whose files :meth:`Node.write_files` writes."""
    return [*java, f"-Djava.io.tmpdir={folder / 'tmp'}", "kafka.Kafka", "server.properties"]


@dataclass(kw_only=True)
class Node(Child):
    """One Kafka node: its number, from 1, and the port where clients reach it."""

    number: int
    port: int

    @property
    def address(self) -> str:
        """Where clients reach it: ``127.0.0.1:9092``."""
        return f"{HOST}:{self.port}"

    def write_files(
        self, properties: dict[str, str], cluster_id: str, checkpoint: bytes = BOOTSTRAP_CHECKPOINT
    ) -> None:
        """Write what Kafka reads when it starts; data that are there already stay.

        :param checkpoint: the first metadata of a new cluster.
        :raises DataError: a file or folder cannot be written.
        """
        data, temporary = self.folder / "data", self.folder / "tmp"
        with writing(self.folder, what="Kafka's files", option="--data-dir"):
            # Native code of lz4, snappy and zstd is unpacked there, and stays if Java is killed.
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            data.mkdir(exist_ok=True)
            write_properties(self.folder / "server.properties", properties)
            if not (data / "meta.properties").exists():
                (data / "bootstrap.checkpoint").write_bytes(checkpoint)
                identity = {"version": "1", "cluster.id": cluster_id, "node.id": str(self.number)}
                write_properties(data / "meta.properties", identity)
        with writing(self.log_file, what="Kafka's log", option="--log-file"):
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            self.log_file.open("ab").close()

    def exit_error(self) -> LocalBrokerError:
        """Return the error for a node that has exited unasked, with Kafka's own reason."""
        status = self.process.returncode if self.process else None
        if status is not None and status < 0:
            cause = f"it was killed by {signal.Signals(-status).name}"
        else:
            cause = cause_of_exit(self.log()) or "without saying why"
        return self.error(f"Kafka has exited: {cause}")

    def error(self, what: str) -> LocalBrokerError:
        """Return an error of this node that says where its log is."""
        lost = self.temporary and self.log_file.is_relative_to(self.temporary)
        todo = "start it with --data-dir to keep its log" if lost else f"its log is {self.log_file}"
        return LocalBrokerError(what, where=self.address, todo=todo)


async def until_started(nodes: Sequence[Node]) -> None:
    """Return when the controller has admitted all nodes, so that topics can be placed there.

    :raises LocalBrokerError: one has exited, or is not ready after ``START_TIMEOUT``.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + START_TIMEOUT
    # A port that answers would prove nothing: it opens earlier.
    while nodes := [node for node in nodes if STARTED not in node.log()]:
        for node in nodes:
            if node.process is None or node.process.returncode is not None:
                raise node.exit_error()
        if loop.time() > give_up:
            raise nodes[0].error(f"Kafka has not started in {START_TIMEOUT:.0f} s")
        await asyncio.sleep(LOG_INTERVAL)


def cause_of_exit(log: str) -> str | None:
    """Return the line of Kafka's log that best explains why it has exited.

    During the start, the first exception causes all that follow; later, Kafka has survived the
    first ones, and the last one is the cause.
    """
    exceptions: list[str] = re.findall(
        r"^(?:Terminating due to )?[\w.$]*\b(\w+(?:Exception|Error)\b.*)", log, re.M
    )
    if exceptions:
        return exceptions[-1 if STARTED in log else 0]
    return next((line for line in reversed(log.split("\n")) if line.strip()), None)
