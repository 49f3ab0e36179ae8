"""Measure how the cost of a visit grows: with alerts, filters, partitions, subscribers, members.

::

    pip install -e '.[bench]'
    python -m bench.curves                          # all curves, on visits of 10,000 alerts
    python -m bench.curves filters --alerts 2000    # one of them, on smaller visits

Everything runs on one machine, Kafka too. ``--out`` gets the figures as JSON and the charts. The
curve ``visits`` is of alerts with smaller cutouts, 38 KB each, so that 100,000 fit in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alertstream.avro.container.blocks import container_header
from alertstream.avro.container.file import ContainerFile
from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import varint
from alertstream.kafka.admin import make_topics
from alertstream.kafka.clients import admin_client
from alertstream.kafka.connection import Connection
from alertstream.kafka.topics import TopicLayout
from alertstream.local.broker.cluster import BrokerOptions, local_broker
from alertstream.local.simulate.files import SimulateOptions, simulate
from bench.contest import CUTOUT_SIZE, Contender, ours, rounds, show
from bench.members import pauses, visit_seconds

FILTERS = (1, 10, 100, 250)
PARTITIONS = (1, 2, 4, 8)
SUBSCRIBERS = (1, 10, 50)
WORKERS = (1, 2)
VISIT, VISIT_INTERVAL = 10_000, 37
"""Alerts of a visit, and seconds from one to the next."""
WARM_UPS = 5
CODECS = ("none", "lz4", "zstd")
SMALL = 43
"""Pixels of a cutout's edge: alerts of 38 KB on average."""


@dataclass(frozen=True)
class Visit:
    """What is sent to a topic: a file, how often, and how."""

    name: str
    path: Path
    times: int = 1
    partitions: int = 4
    codec: str = "none"


@dataclass
class Bench:
    """What all curves share: Kafka, its folder, a visit's file, and the number of rounds."""

    connection: Connection
    data_dir: Path
    folder: Path
    alerts: int
    rounds: int
    pids: list[int]
    figures: dict[str, Any] = field(default_factory=dict)
    topics: int = 0

    @property
    def broker(self) -> str:
        """The address to connect to."""
        return self.connection.bootstrap

    def file(self, alerts: int, cutout_size: int = CUTOUT_SIZE) -> Path:
        """Return the file of a simulated visit."""
        place = self.folder / f"{alerts}-{cutout_size}"
        if not place.exists():
            print(f"simulating a visit of {alerts} alerts", file=sys.stderr)
            simulate(
                SimulateOptions(place, 1, alerts, history=(0, 24), cutout_size=cutout_size),
                Schemas().by_id(1000),
            )
        return next(place.iterdir())

    async def topic(self, partitions: int = 4) -> str:
        """Make an empty topic."""
        self.topics += 1
        name = f"curve-{self.topics}"
        await make_topics(self.connection, [name], TopicLayout(partitions))
        return name

    async def delete(self, topic: str) -> None:
        """Delete a topic, so that the disk does not fill."""
        async with admin_client(self.connection) as admin:
            await admin.delete_topics([topic])

    async def send(self, visit: Visit) -> tuple[str, Contender]:
        """Send a visit to its own topic; return the topic, and the contender with its figures."""
        topic = await self.topic(visit.partitions)
        how = (self.broker, topic, visit.path, visit.times, visit.codec)
        sending = ours(f"send, {visit.name}", "send_ours", *how)
        await asyncio.to_thread(sending.measure)
        return topic, sending

    async def send_and_filter(self, title: str, visits: Sequence[Visit]) -> None:
        """Measure sending and filtering of each visit, in turns; a first turn does not count."""
        sent = {visit: Contender(f"send, {visit.name}", []) for visit in visits}
        filtered = {visit: Contender(f"filter 1-100, {visit.name}", []) for visit in visits}
        stored: dict[str, int] = {}
        for number in range(self.rounds + 1):
            for visit in visits:
                topic, sending = await self.send(visit)
                filtering = ours("", "filter_ours", self.broker, topic, "1-100")
                await asyncio.to_thread(filtering.measure)
                stored[visit.name] = _bytes_of(self.data_dir, topic)
                await self.delete(topic)
                if number:
                    sent[visit].add(sending)
                    filtered[visit].add(filtering)
        for which in (sent, filtered):
            self.tell(title, [*which.values()])
        self.figures[f"{title}, bytes in Kafka"] = stored
        print("bytes in Kafka:", ", ".join(f"{name} {size}" for name, size in stored.items()))

    async def read(self, title: str, path: Path, how: str, points: Mapping[str, object]) -> None:
        """Measure the readers of a visit, in turns.

        :param how: the contender of ``contenders.py``.
        :param points: by name, what each is given besides broker and topic.
        """
        topic, _ = await self.send(Visit("", path))
        reading = [ours(name, how, self.broker, topic, given) for name, given in points.items()]
        await asyncio.to_thread(rounds, reading, self.rounds)
        self.tell(title, reading)
        await self.delete(topic)

    def tell(self, title: str, measured: Sequence[Contender]) -> None:
        """Print a table, and keep its figures."""
        show(title, measured, self.alerts)
        found = [asdict(each) | {"command": None} for each in measured]
        self.figures.setdefault(title, []).extend(found)


def _bytes_of(data_dir: Path, topic: str) -> int:
    return sum(path.stat().st_size for path in data_dir.glob(f"**/{topic}-*/*.log"))


async def visits(bench: Bench) -> None:
    """Measure visits with a tenth of the alerts, all, and ten times as many, and ten visits."""
    few, whole = bench.file(bench.alerts // 10, SMALL), bench.file(bench.alerts, SMALL)
    bench.figures["small_alert_bytes"] = whole.stat().st_size / bench.alerts
    many = bench.folder / "many.avro"
    _repeat(whole, 10, many)
    await bench.send_and_filter(
        "visits",
        [
            Visit(f"{bench.alerts // 10} alerts", few),
            Visit(f"{bench.alerts} alerts", whole),
            Visit(f"10 visits of {bench.alerts}", whole, times=10),
            Visit(f"{10 * bench.alerts} alerts", many),
        ],
    )
    many.unlink()


def _repeat(path: Path, times: int, target: Path) -> None:
    """Write a container file with all records of another, several times."""
    marker = bytes(16)
    with target.open("wb") as file:
        for number in range(times):
            with ContainerFile(path) as container:
                if number == 0:
                    file.write(container_header(container.schema, sync_marker=marker))
                for body in container:
                    file.write(varint(1) + varint(len(body)) + body + marker)


async def filters(bench: Bench) -> None:
    """Measure a visit with 1, 10, 100 and 250 filters in one process."""
    points = {f"{count} filters": f"1-{count}" for count in FILTERS}
    await bench.read("filters", bench.file(bench.alerts), "filter_ours", points)


async def partitions(bench: Bench) -> None:
    """Measure a visit in a topic of 1, 2, 4 and 8 partitions."""
    path = bench.file(bench.alerts)
    await bench.send_and_filter(
        "partitions", [Visit(f"{count} partitions", path, partitions=count) for count in PARTITIONS]
    )


async def compression(bench: Bench) -> None:
    """Measure a visit that is compressed by the sender."""
    path = bench.file(bench.alerts)
    await bench.send_and_filter("compression", [Visit(each, path, codec=each) for each in CODECS])


async def subscribers(bench: Bench) -> None:
    """Measure how long 1, 10 and 50 subscribers take to read a fifth of a visit, unfiltered."""
    points = {f"{count} subscribers": count for count in SUBSCRIBERS}
    await bench.read("subscribers", bench.file(bench.alerts // 5), "read_many", points)


async def thin(bench: Bench) -> None:
    """Measure copies of all alerts, whole and without cutouts: writing them, and subscribers."""
    source, _ = await bench.send(Visit("", bench.file(bench.alerts)))
    outputs = {each: await bench.topic() for each in ("", "cutouts")}
    names = {"": "whole", "cutouts": "--without cutouts"}
    copying = [
        ours(names[each], "filter_all", bench.broker, source, output, each)
        for each, output in outputs.items()
    ]
    await asyncio.to_thread(rounds, copying, bench.rounds)
    bench.tell("thin", copying)
    found = {names[each]: _bytes_of(bench.data_dir, output) for each, output in outputs.items()}
    copies = (bench.rounds + 1) * bench.alerts
    await bench.delete(source)
    reading = [
        ours(f"{count} subscribers, {names[each]}", "read_many", bench.broker, output, count)
        for each, output in outputs.items()
        for count in SUBSCRIBERS[1:]
    ]
    await asyncio.to_thread(rounds, reading, bench.rounds)
    show("subscribers of thin alerts", reading, copies)
    for each in reading:
        # As many as there would be if each read a whole visit as fast as they do here.
        per_alert = statistics.median(each.seconds) / int(each.command[-1]) / copies
        served = VISIT_INTERVAL / (VISIT * per_alert)
        print(f"{each.name:40} {served:8.0f} read a visit of {VISIT} alerts in {VISIT_INTERVAL} s")
    print("bytes of an alert:", ", ".join(f"{n} {size / copies:.0f}" for n, size in found.items()))
    bench.figures["bytes of an alert"] = {n: size / copies for n, size in found.items()}


async def workers(bench: Bench) -> None:
    """Measure a visit from its first alert to its last committed offset, with 1 and 2 workers."""
    path = bench.file(bench.alerts)
    measured = {count: Contender(f"{count} workers, 100 filters", []) for count in WORKERS}
    for number in range(bench.rounds + 1):
        for count, each in measured.items():
            topic = await bench.topic(4)
            seconds, megabytes = await visit_seconds(
                bench.connection, path, bench.alerts, topic, count
            )
            if number:
                each.seconds.append(seconds)
                each.megabytes.append(megabytes)
            await bench.delete(topic)
    bench.tell("workers", [*measured.values()])


async def members(bench: Bench) -> None:
    """Measure how long all partitions stand still when a member of a group joins or leaves."""
    found = [await pauses(bench.connection, await bench.topic()) for _ in range(bench.rounds)]
    print(f"\nmembers: longest time without a commit, s, {bench.rounds} rounds")
    for what in found[0]:
        values = sorted(each[what] for each in found)
        print(f"{what:40} {values[len(values) // 2]:8.2f} {values[0]:8.2f} – {values[-1]:.2f}")
    bench.figures["members"] = found


async def costs(bench: Bench) -> None:
    """Measure processor seconds per GB that is sent, read, filtered, replicated three times."""
    path = bench.file(bench.alerts)
    size = path.stat().st_size / 1e9
    found: dict[str, dict[str, float]] = {}
    topic, sending = await bench.send(Visit("", path))
    await asyncio.to_thread(rounds, [sending], 2)
    await bench.delete(topic)
    small = bench.file(bench.alerts, SMALL)
    bench.figures["small_alert_bytes"] = small.stat().st_size / bench.alerts
    topic, _ = await bench.send(Visit("", path))
    reading = (bench.broker, topic)
    small_topic, _ = await bench.send(Visit("", small))
    reading_small = (bench.broker, small_topic)
    for name, how, gigabytes in (
        ("send", ("send_ours", bench.broker, await bench.topic(), path), size),
        ("filter 1", ("filter_ours", *reading, "1"), size),
        ("filter 1-100", ("filter_ours", *reading, "1-100"), size),
        ("10 subscribers", ("read_many", *reading, 10), 10 * size),
        (
            "filter 1, small alerts",
            ("filter_ours", *reading_small, "1"),
            small.stat().st_size / 1e9,
        ),
    ):
        found[name] = await _cost(ours(name, *how), bench.pids, gigabytes, bench.rounds)
    # Three copies of all that would not fit into memory.
    fifth = bench.file(bench.alerts // 5)
    async with local_broker(BrokerOptions(port=0, nodes=3), notice=print) as three:
        await make_topics(Connection(three.bootstrap), ["copies"], TopicLayout(replication=3))
        sending = ours("", "send_ours", three.bootstrap, "copies", fifth)
        pids, gigabytes = list(three.pids.values()), fifth.stat().st_size / 1e9
        # At first, Java spends most of its time compiling.
        await asyncio.to_thread(rounds, [sending], WARM_UPS)
        found["send, 3 copies"] = await _cost(sending, pids, gigabytes, bench.rounds)
    print("\ncosts: processor seconds per GB, medians")
    print(f"{'':40} {'client':>8} {'Kafka':>8}")
    for name, cost in found.items():
        print(f"{name:40} {cost['client']:8.2f} {cost['kafka']:8.2f}")
    bench.figures["costs"] = found


async def _cost(
    contender: Contender, kafka: Sequence[int], gigabytes: float, rounds: int
) -> dict[str, float]:
    """Return the processor time of a contender and of Kafka per GB, after a warm-up."""
    spent: list[float] = []
    contender.cpu.clear()
    for _ in range(rounds + 1):
        begin = sum(map(_processor_seconds, kafka))
        await asyncio.to_thread(contender.measure)
        spent.append(sum(map(_processor_seconds, kafka)) - begin)
    return {
        "client": statistics.median(contender.cpu[1:]) / gigabytes,
        "kafka": statistics.median(spent[1:]) / gigabytes,
    }


def _processor_seconds(process: int) -> float:
    """Return the processor time of a process so far, s (proc(5), ``stat``)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


CURVES: dict[str, Callable[[Bench], Awaitable[None]]] = {
    each.__name__: each
    for each in (
        visits,
        filters,
        partitions,
        compression,
        subscribers,
        thin,
        workers,
        members,
        costs,
    )
}


def keep(figures: dict[str, Any], folder: Path) -> None:
    """Write figures, keep those of other curves, and draw them all."""
    from bench.chart import draw_curves

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "curves.json"
    with suppress(FileNotFoundError):
        figures = json.loads(path.read_text()) | figures
    path.write_text(json.dumps(figures, indent=1) + "\n")
    draw_curves(figures, folder / "curves.svg")


async def measure(options: argparse.Namespace, folder: Path) -> None:
    """Measure the requested curves."""
    data_dir = folder / "kafka"
    async with local_broker(BrokerOptions(port=0, data_dir=data_dir), notice=print) as broker:
        bench = Bench(
            *(Connection(broker.bootstrap), data_dir, folder, options.alerts, options.rounds),
            pids=list(broker.pids.values()),
        )
        bench.figures |= {"alerts": options.alerts, "rounds": options.rounds}
        bench.figures["alert_bytes"] = bench.file(options.alerts).stat().st_size / options.alerts
        for curve in options.curves:
            print(f"measuring {curve}", file=sys.stderr)
            await CURVES[curve](bench)
            if options.out:
                keep(bench.figures, options.out)


def main() -> None:
    """Parse the command line, measure, and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.curves", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "curves", nargs="*", default=list(CURVES), metavar=f"{{{','.join(CURVES)}}}"
    )
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for curves.json and curves.svg")
    options = parser.parse_args()
    if unknown := set(options.curves) - set(CURVES):
        parser.error(f"there is no curve {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(prefix="alertstream-bench-") as folder:
        asyncio.run(measure(options, Path(folder)))


if __name__ == "__main__":
    main()
