"""The configuration of a node, and the files that Kafka reads when it starts."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

HOST = "127.0.0.1"
MAX_BATCH_BYTES = 12 * 1024 * 1024
"""A message of 10 MiB, and room for its headers."""

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
    copies = str(len(ports))
    copies_needed = str((len(ports) + 1) // 2)
    voters = [f"{voter}@{HOST}:{port}" for voter, port in enumerate(controller_ports, start=1)]
    return {
        "process.roles": "broker,controller",
        "node.id": str(number),
        "controller.quorum.voters": ",".join(voters),
        "listeners": f"CLIENTS://{HOST}:{ports[number - 1]},"
        f"CONTROLLER://{HOST}:{controller_ports[number - 1]}",
        "advertised.listeners": f"CLIENTS://{HOST}:{ports[number - 1]}",
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
    }


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Write a file of Java properties."""
    # What Java's escapes are within a line, JSON's are too.
    lines = (f"{key}={json.dumps(value)[1:-1]}\n" for key, value in properties.items())
    write_private(path, "".join(lines))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read: passwords may be in it."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def jaas(module: str, options: Mapping[str, str]) -> str:
    """Return a line of Java's authentication configuration; its strings are quoted like JSON's."""
    given = "".join(
        f" {json.dumps(name)}={json.dumps(value, ensure_ascii=False)}"
        for name, value in options.items()
    )
    return f"org.apache.kafka.common.security.{module} required{given};"
