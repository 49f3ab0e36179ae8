"""Alerts at full speed for minutes, while brokers, filters and printers are killed at random.

::

    pip install -e '.[test]'
    python -m tests.faults.soak --minutes 5

There is a cluster of three nodes, a sender of bursts that waits until the filter has caught up with
most of the last one, a filter that lets everything pass exactly once, and a printer of its output.
Every 20 s a node, the filter or the printer is killed (SIGKILL) and restarted. At the end, a table
shows what was sent, what a subscriber to committed messages received once, not at all or twice, and
what was printed (at least once). Exit status 1 if something is lost or duplicated.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.support.cluster import NODES, Cluster, running_cluster
from tests.support.commands import run, start
from tests.support.raw_kafka import ends, make

from alertstream.kafka.messages import ORIGIN

STREAM, PASSED = "stream", "passed"
EVERYTHING = "diaSource.snr > -1 or not diaSource.snr > -1"
PARTITIONS = 4
BURSTS = 10
MOST_BEHIND = 3000
KEPT = str(512 * 1024 * 1024)
"""Bytes that Kafka keeps of a partition: readers keep up with deletion."""


class Subscriber:
    """Reads filtered, committed messages without alertstream; counts their origins."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stop = asyncio.Event()
        self.received: Counter[tuple[int, int]] = Counter()

    async def read(self) -> None:
        partitions = [TopicPartition(PASSED, number) for number in range(PARTITIONS)]
        async with AIOKafkaConsumer(
            bootstrap_servers=self._address, isolation_level="read_committed", check_crcs=False
        ) as consumer:
            consumer.assign(partitions)
            await consumer.seek_to_beginning()
            while not self._stop.is_set():
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    for message in messages:
                        origin = json.loads(dict(message.headers)[ORIGIN])
                        self.received[origin["partition"], origin["offset"]] += 1

    def stop(self) -> None:
        self._stop.set()


@dataclass
class Worker:
    """A command that is killed and restarted; ``memory`` is the peak of each run, MB."""

    name: str
    launch: Callable[[], subprocess.Popen[str]]
    memory: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.process = self.launch()

    def measure(self) -> None:
        status = Path(f"/proc/{self.process.pid}/status")
        if status.exists():
            lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
            self.memory += [float(line.split()[1]) / 1024 for line in lines]

    def kill(self) -> None:
        self.measure()
        self.process.kill()
        self.process.communicate()
        self.process = self.launch()

    def end(self) -> None:
        self.measure()
        self.process.terminate()
        _, error = self.process.communicate(timeout=60)
        if self.process.returncode:
            raise SystemExit(f"{self.name} has ended with {self.process.returncode}: {error}")


def send_burst(address: str, visits: Path) -> int:
    """Send a burst at full speed; return the number of alerts."""
    how = ("--interval", 0, "--repeat", BURSTS, "--format", "json")
    sent = run("send", address, STREAM, "--data", visits, *how, limit=150)
    if sent.status:
        raise SystemExit(f"send has failed: {sent.err}")
    return sum(each["acknowledged"] for each in sent.objects)


async def soak(cluster: Cluster, folder: Path, minutes: float, rng: random.Random) -> bool:
    """Send and kill for some minutes; return whether nothing is lost or duplicated."""
    visits, lines = folder / "visits", folder / "printed"
    assert (
        run("simulate", visits, *("--visits", 3, "--alerts", 300, "--cutout-size", 21)).status == 0
    )
    for topic in (STREAM, PASSED):
        config = {"min.insync.replicas": "2", "retention.bytes": KEPT, "segment.bytes": "67108864"}
        await asyncio.to_thread(
            lambda topic=topic, config=config: make(
                cluster.address, topic, PARTITIONS, len(NODES), **config
            )
        )
    group = ("--group", "soak")
    which = ("--where", EVERYTHING, "--output", PASSED, "--cap", 0)
    filtering = Worker("filter", lambda: start("filter", cluster.address, STREAM, *which, *group))
    shown = ("--format", "json", "--fields", "band")

    def launch_print() -> subprocess.Popen[str]:
        lines.mkdir(exist_ok=True)
        out = lines / f"{len([*lines.iterdir()])}.jsonl"
        return start("print", cluster.address, PASSED, "--group", "printers", *shown, out=out)

    printing = Worker("print", launch_print)
    subscriber = Subscriber(cluster.address)
    reading = asyncio.create_task(subscriber.read())
    kills = asyncio.create_task(kill_at_random(cluster, [filtering, printing], rng, minutes))
    sent = 0
    begin = time.monotonic()
    while not kills.done():
        sent += await asyncio.to_thread(send_burst, cluster.address, visits)
        while sent - len(subscriber.received) > MOST_BEHIND and not kills.done():  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    killed = await kills
    seconds = time.monotonic() - begin
    give_up = time.monotonic() + 120
    while len(subscriber.received) < sent and time.monotonic() < give_up:  # noqa: ASYNC110
        await asyncio.sleep(0.5)
    await asyncio.sleep(5)
    for worker in (filtering, printing):
        await asyncio.to_thread(worker.end)
    subscriber.stop()
    await reading
    there = await asyncio.to_thread(ends, cluster.address, STREAM)
    sent_places = Counter((number, at) for number, end in there.items() for at in range(end))
    doubled = (subscriber.received - sent_places).total()
    lost = (sent_places - subscriber.received).total()
    printed = sum(len(set_of.read_text().splitlines()) for set_of in lines.iterdir())
    print(f"{seconds:.0f} s, {sent / seconds:.0f} alerts/s, killed: {dict(Counter(killed))}")
    print(f"{'':24}{'alerts sent':>14}{'received once':>15}{'lost':>8}{'duplicated':>11}")
    print(f"{'sent':24}{sent:14}{sum(there.values()):15}{sent - sum(there.values()):8}{0:11}")
    print(f"{'filtered, committed':24}{sent:14}{sent - lost:15}{lost:8}{doubled:11}")
    print(f"{'printed, at least once':24}{sent:14}{printed:15}")
    for worker in (filtering, printing):
        print(
            f"memory of {worker.name}, most in each life, MB: {[round(m) for m in worker.memory]}"
        )
    return lost == doubled == 0 and sum(there.values()) == sent and printed >= sent


async def kill_at_random(
    cluster: Cluster, workers: list[Worker], rng: random.Random, minutes: float, every: float = 20
) -> list[str]:
    """Kill something every 20 s; return what was killed."""
    killed: list[str] = []
    end = time.monotonic() + minutes * 60
    while time.monotonic() + every < end:
        await asyncio.sleep(every)
        for node in cluster.down():
            await asyncio.to_thread(cluster.start, node)
        victim = rng.choice([*workers, *NODES])
        if isinstance(victim, Worker):
            await asyncio.to_thread(victim.kill)
            killed.append(victim.name)
        else:
            await asyncio.to_thread(cluster.kill, victim)
            killed.append(f"node {victim}")
        print(f"killed: {killed[-1]}", file=sys.stderr)
    await asyncio.sleep(max(end - time.monotonic(), 0))
    await asyncio.to_thread(cluster.heal)
    return killed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    # Unreachable nodes are the point of this.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    print(f"seed {options.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, running_cluster() as cluster:
        rng = random.Random(options.seed)
        if not asyncio.run(soak(cluster, Path(folder), options.minutes, rng)):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
