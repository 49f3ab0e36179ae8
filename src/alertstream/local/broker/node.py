"""One Kafka process, broker and controller at once: its files, its start and its end."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alertstream.errors import LocalBrokerError
from alertstream.local.broker.configuration import BOOTSTRAP_CHECKPOINT, HOST, write_properties
from alertstream.system.process import Child

START_TIMEOUT = 60.0
STARTED = "Kafka Server started"
LOG_INTERVAL = 0.02
"""Seconds between looks into the log of a node that starts."""


def kafka_command(java: Sequence[str], folder: Path) -> list[str]:
    """Return how a node is run in its folder, whose files :meth:`Node.write_files` writes."""
    return [*java, f"-Djava.io.tmpdir={folder / 'tmp'}", "kafka.Kafka", "server.properties"]


@dataclass(kw_only=True)
class Node(Child):
    """One Kafka.

    :param number: which one, from 1.
    :param port: where clients reach it.
    """

    number: int
    port: int

    @property
    def address(self) -> str:
        """Where clients reach it: ``127.0.0.1:9092``."""
        return f"{HOST}:{self.port}"

    def write_files(
        self,
        properties: dict[str, str],
        cluster_id: str,
        checkpoint: bytes = BOOTSTRAP_CHECKPOINT,
    ) -> None:
        """Write what Kafka reads when it starts; data that are there already stay.

        :param checkpoint: the first metadata of a new cluster.
        :raises OSError: a file or folder cannot be written.
        """
        # Native code of lz4, snappy and zstd is unpacked there, and stays if Java is killed.
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        (self.folder / "tmp").mkdir(parents=True)
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        write_properties(self.folder / "server.properties", properties)
        if not (data / "meta.properties").exists():
            (data / "bootstrap.checkpoint").write_bytes(checkpoint)
            identity = {"version": "1", "cluster.id": cluster_id, "node.id": str(self.number)}
            write_properties(data / "meta.properties", identity)

    def exit_error(self) -> LocalBrokerError:
        """Return the error for a node that has exited unasked, with Kafka's own reason."""
        status = self.process.returncode if self.process else None
        if status is not None and status < 0:
            cause = f"it was killed by {signal.Signals(-status).name}"
        else:
            cause = cause_of_exit(self.log()) or "without saying why"
        return LocalBrokerError(
            f"Kafka has exited: {cause}", where=self.address, todo=self._see_log()
        )

    def timeout_error(self) -> LocalBrokerError:
        """Return the error for a node that is not ready after ``START_TIMEOUT``."""
        return LocalBrokerError(
            f"Kafka has not started in {START_TIMEOUT:.0f} s",
            where=self.address,
            todo=self._see_log(),
        )

    def _see_log(self) -> str:
        if self.temporary and self.log_file.is_relative_to(self.temporary):
            return "start it with --data-dir to keep its log"
        return f"its log is {self.log_file}"


async def until_started(nodes: Sequence[Node]) -> None:
    """Return when all have started: the controller has let each in, so topics can be placed there.

    A port that answers would be no proof of that: it is open before.

    :raises LocalBrokerError: one has exited, or is not ready after ``START_TIMEOUT``.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + START_TIMEOUT
    waiting = list(nodes)
    while waiting := [node for node in waiting if STARTED not in node.log()]:
        for node in waiting:
            if node.process is None or node.process.returncode is not None:
                raise node.exit_error()
        if loop.time() > give_up:
            raise waiting[0].timeout_error()
        await asyncio.sleep(LOG_INTERVAL)


def cause_of_exit(log: str) -> str | None:
    """Return the line of Kafka's log that explains best why it has exited.

    While Kafka starts, the first exception is the cause of all that follow; later, errors that it
    has survived come first, and the last one is the cause.
    """
    exceptions = re.findall(
        r"^(?:Terminating due to )?[\w.$]*\b(\w+(?:Exception|Error)\b.*)", log, re.M
    )
    if exceptions:
        return str(exceptions[-1 if STARTED in log else 0])
    lines = log.split("\n")
    return next((line for line in reversed(lines) if line.strip()), None)
