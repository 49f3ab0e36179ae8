"""Alerts for minutes or hours, while brokers and members are killed, frozen, cut off and filled up.

::

    pip install -e '.[test,bench]'
    python -m tests.faults.chaos --minutes 60

There is a cluster of three nodes; a sender of visits; two members of a filter that lets everything
pass, three of one with a cap, and a printer. Every 15 s something happens to one of them: SIGKILL,
SIGSTOP for up to 40 s, SIGTERM; to a node also a full disk (as root on Linux: its data are on a
file system of their own) or a network that loses every packet to it (with ``nft``, in a network
namespace of its own). One node at a time is in trouble, so nothing may fail.

An independent client (confluent-kafka, fastavro) reads all topics meanwhile. At the end, a table
shows what is lost and duplicated, and each visit must have passed exactly min(cap, wanted) alerts.
Exit status 1 if not.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from tests.support.cluster import NODES, Cluster, running_cluster
from tests.support.commands import run, start, until
from tests.support.raw_kafka import make

from alertstream.kafka.messages import ORIGIN

STREAM, PASSED, CAPPED = "stream", "passed", "capped"
EVERYTHING = "diaSource.snr > -1 or not diaSource.snr > -1"
MIN_SNR, CAP = 20, 20
PARTITIONS = 4
VISITS, ALERTS = 10, 100
"""Visits of a burst, and alerts of a visit."""
MAX_BEHIND = 3000
FAULT_INTERVAL = 15.0
LONGEST = 40.0
"""Seconds that something is frozen or cut off; a group gives a silent member up after 10."""
FULL_NODE = NODES[-1]
DISK = 8 * 1024**3
TOPIC = {
    "min.insync.replicas": "2",
    "retention.bytes": str(256 * 1024**2),
    "segment.bytes": str(32 * 1024**2),
}
SETTLED_TIMEOUT = 180.0

Place = tuple[int, int]
"""Partition and offset."""


class Observer(threading.Thread):
    """Reads all topics as they grow, committed messages only, without alertstream."""

    def __init__(self, address: str, schema: Any) -> None:
        super().__init__(name="observer", daemon=True)
        self._address, self._schema = address, schema
        self._ended = threading.Event()
        self.sent: dict[Place, tuple[int, bool]] = {}
        """Each alert's visit, and whether the filter with a cap wants it."""
        self.copies: dict[str, Counter[Place]] = {PASSED: Counter(), CAPPED: Counter()}

    def run(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._address,
                "group.id": "observer",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        topics = (STREAM, *self.copies)
        every = [TopicPartition(t, n, OFFSET_BEGINNING) for t in topics for n in range(PARTITIONS)]
        consumer.assign(every)
        while not self._ended.is_set():
            for message in consumer.consume(500, timeout=0.2):
                if message.error() is None:
                    self._take(message)
                elif message.error().code() == KafkaError._AUTO_OFFSET_RESET:
                    raise SystemExit("messages were deleted before they were read")
        consumer.close()

    def _take(self, message: Any) -> None:
        if message.topic() == STREAM:
            source = fastavro.schemaless_reader(io.BytesIO(message.value()[5:]), self._schema, None)
            snr = source["diaSource"]["snr"]
            wanted = snr is not None and snr > MIN_SNR
            place = message.partition(), message.offset()
            self.sent[place] = source["diaSource"]["visit"], wanted
        else:
            origin = json.loads(dict(message.headers())[ORIGIN])
            self.copies[message.topic()][origin["partition"], origin["offset"]] += 1

    def end(self) -> None:
        self._ended.set()
        self.join()


@dataclass
class Member:
    """A command that is killed and started again; ``memory`` is the peak of each life, MB."""

    name: str
    launch: Callable[[], subprocess.Popen[str]]
    memory: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.process = self.launch()

    def _measure(self) -> None:
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            self.memory.append(int(status.split("VmHWM:")[1].split()[0]) / 1024)

    def kill(self) -> None:
        self._measure()
        self.process.kill()
        self.process.communicate()
        self.process = self.launch()

    def end(self) -> None:
        """End it in order, which must succeed."""
        self._measure()
        self.process.terminate()
        _, told = self.process.communicate(timeout=90)
        if self.process.returncode:
            raise SystemExit(f"{self.name} has ended with {self.process.returncode}: {told}")

    def restart(self) -> None:
        self.end()
        self.process = self.launch()


class Faults:
    """What may happen; each returns when it is over, and everything runs again."""

    def __init__(
        self, cluster: Cluster, members: list[Member], rng: random.Random, disk: Path | None
    ) -> None:
        self._cluster, self._members, self._rng, self._disk = cluster, members, rng, disk
        self.choices = [self.kill_node, self.freeze_node, self.kill_member, self.freeze_member]
        self.choices += [self.restart_member, self.kill_all_members]
        if disk:
            self.choices.append(self.fill_disk)
        if in_namespace():
            self.choices.append(self.cut_off_node)
        self.happened: Counter[str] = Counter()
        self.complete = False

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        # Each happens once before any happens again, however short the time.
        ahead: list[Callable[[], str]] = []
        while time.monotonic() + FAULT_INTERVAL + LONGEST < end:
            ahead = ahead or self._rng.sample(self.choices, len(self.choices))
            fault = ahead.pop()
            told = fault()
            self.happened[fault.__name__.replace("_", " ")] += 1
            print(f"{time.strftime('%H:%M:%S')} {told}", file=sys.stderr)
            time.sleep(FAULT_INTERVAL)
        self.complete = True

    def _while(self) -> float:
        """Wait for some seconds; return how many."""
        seconds = self._rng.uniform(2, LONGEST)
        time.sleep(seconds)
        return seconds

    def kill_node(self) -> str:
        node = self._rng.choice(NODES)
        self._cluster.kill(node)
        seconds = self._while()
        self._cluster.start(node)
        return f"node {node} killed, started after {seconds:.0f} s"

    def freeze_node(self) -> str:
        node = self._rng.choice(NODES)
        pid = self._cluster.broker.pids[node]
        os.kill(pid, signal.SIGSTOP)
        seconds = self._while()
        os.kill(pid, signal.SIGCONT)
        return f"node {node} frozen for {seconds:.0f} s"

    def cut_off_node(self) -> str:
        node = self._rng.choice(NODES)
        port = self._cluster.address.split(",")[node - 1].rpartition(":")[2]
        table = "table ip chaos { chain in { type filter hook input priority 0; "
        rules = f"tcp dport {port} drop; tcp sport {port} drop; }}; }}\n"
        subprocess.run(["nft", "-f", "-"], input=table + rules, text=True, check=True)
        seconds = self._while()
        subprocess.run(["nft", "delete", "table", "ip", "chaos"], check=True)
        return f"node {node} cut off for {seconds:.0f} s"

    def fill_disk(self) -> str:
        assert self._disk
        ballast = self._disk / "ballast"
        with ballast.open("wb") as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self._disk).free - 2**16)
        seconds = self._while()
        ballast.unlink()
        self._cluster.kill(FULL_NODE)
        self._cluster.start(FULL_NODE)
        return f"disk of node {FULL_NODE} full for {seconds:.0f} s"

    def kill_member(self) -> str:
        member = self._rng.choice(self._members)
        member.kill()
        return f"{member.name} killed"

    def kill_all_members(self) -> str:
        for member in self._members:
            member.kill()
        return "all members killed"

    def freeze_member(self) -> str:
        member = self._rng.choice(self._members)
        member.process.send_signal(signal.SIGSTOP)
        seconds = self._while()
        member.process.send_signal(signal.SIGCONT)
        return f"{member.name} frozen for {seconds:.0f} s"

    def restart_member(self) -> str:
        member = self._rng.choice(self._members)
        member.restart()
        return f"{member.name} stopped and started"


def in_namespace() -> bool:
    return "CHAOS_NAMESPACE" in os.environ


def enter_namespace() -> None:
    """Run this script in a network namespace of its own, if that is possible here."""
    if in_namespace() or not shutil.which("nft") or not shutil.which("unshare"):
        return
    up = 'ip link set lo up && nft list tables && exec "$@"'
    command = ["unshare", "-n", "sh", "-c", up, "sh"]
    if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
        os.environ["CHAOS_NAMESPACE"] = "1"
        os.execvp("unshare", [*command, sys.executable, "-m", "tests.faults.chaos", *sys.argv[1:]])


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a file system for the data of one node; None where that is not possible."""
    disk = folder / f"node-{FULL_NODE}"
    disk.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


class Visits:
    """Bursts of visits that all differ, made from one simulated visit."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._rng = rng
        size = ("--alerts", ALERTS, "--cutout-size", 21, "--history", "0-4")
        assert run("simulate", folder / "simulated", *size, "--visits", 1).status == 0
        (path,) = (folder / "simulated").glob("*.avro")
        with path.open("rb") as file:
            reader = fastavro.reader(file)
            self._alerts = list(reader)
            self.schema = fastavro.parse_schema(reader.writer_schema)
        self._path = folder / "burst.avro"
        self._next = 1_000_000

    def burst(self) -> Path:
        alerts = []
        for _ in range(VISITS):
            self._next += 1
            # Some visits have less than the cap lets through.
            for alert in self._alerts[: self._rng.randint(CAP // 2, ALERTS)]:
                alerts.append(alert | {"diaSource": alert["diaSource"] | {"visit": self._next}})
        with self._path.open("wb") as file:
            fastavro.writer(file, self.schema, alerts)
        return self._path


def send_burst(address: str, path: Path) -> int:
    sent = run(
        "send", address, STREAM, "--data", path, "--interval", 0, "--format", "json", limit=300
    )
    if sent.status:
        raise SystemExit(f"send has failed: {sent.err}")
    return sum(each["acknowledged"] for each in sent.objects)


def start_members(address: str, printed: Path) -> list[Member]:
    everything = ("--where", EVERYTHING, "--output", PASSED, "--cap", 0, "--group", "all")
    bright = ("--where", f"diaSource.snr > {MIN_SNR}", "--output", CAPPED, "--group", "bright")
    numbers: Iterator[int] = iter(range(1_000_000))

    def launch_print() -> subprocess.Popen[str]:
        shown = ("--group", "printers", "--format", "json", "--fields", "diaSource.visit")
        return start("print", address, PASSED, *shown, out=printed / f"{next(numbers)}.jsonl")

    def filtering(*which: object) -> Callable[[], subprocess.Popen[str]]:
        # It may not have a pipe: nobody reads what it reports.
        out = printed.parent / f"filter-{next(numbers)}.out"
        return lambda: start("filter", address, STREAM, *which, out=out)

    return [
        Member("first member of all", filtering(*everything)),
        Member("second member of all", filtering(*everything)),
        *(Member(f"member {n} of bright", filtering(*bright, "--cap", CAP)) for n in (1, 2, 3)),
        Member("printer", launch_print),
    ]


def chaos(cluster: Cluster, folder: Path, disk: Path | None, options: argparse.Namespace) -> bool:
    """Send while faults happen; return whether nothing is lost, duplicated or miscounted."""
    rng = random.Random(options.seed)
    visits, printed = Visits(folder, rng), folder / "printed"
    printed.mkdir()
    for topic in (STREAM, PASSED, CAPPED):
        make(cluster.address, topic, PARTITIONS, len(NODES), **TOPIC)
    observer = Observer(cluster.address, visits.schema)
    observer.start()
    members = start_members(cluster.address, printed)
    faults = Faults(cluster, members, rng, disk)
    trouble = threading.Thread(target=faults.run, args=(options.minutes * 60,), daemon=True)
    trouble.start()
    begin, sent = time.monotonic(), 0
    while trouble.is_alive():
        sent += send_burst(cluster.address, visits.burst())
        while trouble.is_alive() and sent - len(observer.copies[PASSED]) > MAX_BEHIND:
            time.sleep(0.2)
    seconds = time.monotonic() - begin
    with suppress(AssertionError):
        wanted = lambda: expected(observer)[1].total()  # noqa: E731
        until(lambda: len(observer.sent) >= sent, "all is seen", SETTLED_TIMEOUT)
        until(lambda: len(observer.copies[PASSED]) >= sent, "all has passed", SETTLED_TIMEOUT)
        until(lambda: len(observer.copies[CAPPED]) >= wanted(), "all bright ones", SETTLED_TIMEOUT)
    time.sleep(5)
    for member in members:
        member.end()
    observer.end()
    print(f"{seconds:.0f} s, {sent / seconds:.0f} alerts/s: {dict(faults.happened)}")
    for member in members:
        print(f"peak memory of {member.name}: {max(member.memory, default=0):.0f} MB")
    lines = [line for each in printed.iterdir() for line in each.read_text().splitlines()]
    right = report(observer, sent, {place_of(line) for line in lines if line.endswith("}")})
    return right and faults.complete


def place_of(line: str) -> Place:
    message = json.loads(line)
    return message["partition"], message["offset"]


def expected(observer: Observer) -> tuple[Counter[int], Counter[int]]:
    """By visit: how many alerts the filter with a cap wants, and how many must pass it."""
    wanted = Counter(visit for visit, is_wanted in [*observer.sent.values()] if is_wanted)
    return wanted, Counter({visit: min(CAP, count) for visit, count in wanted.items()})


def report(observer: Observer, sent: int, printed: set[Place]) -> bool:
    """Print the table; return whether it is as it should be."""
    everything = Counter(dict.fromkeys(observer.sent, 1))
    passed, capped = observer.copies[PASSED], observer.copies[CAPPED]
    lost, doubled = (everything - passed).total(), (passed - everything).total()
    wanted, due = expected(observer)
    got = Counter(observer.sent[place][0] for place in capped.elements())
    wrong = {visit for visit in due | got if due[visit] != got[visit]}
    not_wanted = sum(not observer.sent[place][1] for place in capped)
    print(f"{'':28}{'due':>10}{'there':>10}{'lost':>8}{'duplicated':>12}")
    for name, should, there, missing, twice in (
        ("acknowledged to send", sent, len(observer.sent), sent - len(observer.sent), 0),
        ("passed, committed", sent, len(passed), lost, doubled),
        ("printed, at least once", sent, len(printed), sent - len(printed), 0),
        ("passed a cap", due.total(), got.total(), (due - got).total(), (got - due).total()),
    ):
        print(f"{name:28}{should:10}{there:10}{missing:8}{twice:12}")
    print(
        f"visits: {len(due)}; with more than {CAP} wanted: {sum(n > CAP for n in wanted.values())}"
    )
    print(f"visits that have not passed exactly min({CAP}, wanted): {len(wrong)}")
    right = len(observer.sent) == sent == len(printed) and lost == doubled == 0
    return right and not wrong and not not_wanted and due.total() > 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    enter_namespace()
    # Unreachable nodes are the point of this.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    print(f"seed {options.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        with (
            small_disk(folder / "data") as disk,
            running_cluster(data_dir=folder / "data") as cluster,
        ):
            if not chaos(cluster, folder, disk, options):
                raise SystemExit(1)


if __name__ == "__main__":
    main()
