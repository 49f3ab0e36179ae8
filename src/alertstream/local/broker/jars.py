"""Kafka's jars: fetched once, from a Maven repository, and verified at every start.

They are exactly those that ``kafka.lock.toml`` names, with their sha256
(``python -m tests.support.lock_kafka`` writes that file anew).
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alertstream.errors import LocalBrokerError
from alertstream.system.extras import extra

if TYPE_CHECKING:
    from jgo.maven import MavenContext

JAR_LOCK = Path(__file__).with_name("kafka.lock.toml")
GROUP = "org.apache.kafka"
MAX_DOWNLOADS = 8
"""At the same time."""

Notice = Callable[[str], None]
Progress = Callable[[int, int, str], None]
"""Called with the number of jars fetched, the number to fetch, and the file name of the last."""
_Jar = tuple[dict[str, str], Path]
"""Maven's coordinates of a jar with its sha256, and its place in the local repository."""


def kafka_version() -> str:
    """Return the version of the local Kafka."""
    return next(jar["version"] for jar in _locked(JAR_LOCK) if jar["groupId"] == GROUP)


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
            raise _not_fetched(error) from error
    for jar, path in jars:
        _verify(jar, path, path)
    return [path for _, path in jars]


def _locked(lock: Path) -> list[dict[str, str]]:
    jars: list[dict[str, str]] = tomllib.loads(lock.read_text())["dependencies"]
    return jars


def _place(jar: dict[str, str]) -> Path:
    artifact, version = jar["artifactId"], jar["version"]
    folder = Path(*jar["groupId"].split("."), artifact, version)
    return folder / f"{artifact}-{version}.jar"


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


def _not_fetched(error: Exception) -> LocalBrokerError:
    # requests' errors are OSErrors; they repeat the address several times over.
    url = getattr(getattr(error, "request", None), "url", None)
    return LocalBrokerError(
        f"Kafka could not be fetched ({type(error).__name__})",
        where=url or str(error),
        todo="the first start needs the network (HTTPS_PROXY is honoured, a mirror can be set "
        "in jgo.conf), later ones do not; or copy ~/.m2/repository from another machine",
    )
