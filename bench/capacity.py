"""What a stream needs of network, disks, processors and brokers, from measured costs.

::

    python -m bench.capacity                              # the tables of docs/capacity.md
    python -m bench.capacity --alerts 40000 --full 20     # a stream of one's own

The costs are those in ``docs/curves.json``, of ``python -m bench.curves --out docs``.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parents[1] / "docs" / "curves.json"
NETWORK = 10e9 / 8
"""Bytes a second of a broker's network, each way."""
DISK = 500e6
"""Bytes a second that a broker's disks write."""
CORES = 16
"""Processors of a broker."""
USED = 0.5
"""Share of each that is used in the plan: the rest is for peaks, and for a broker that is down."""
PARTITIONS = 12
"""Fewest partitions of a topic: 2, 3, 4 and 6 members share them evenly."""
MEASURED_ON = 2
"""Processors of the machine on which the curves were measured."""


@dataclass(frozen=True)
class Stream:
    """What is sent, and to whom.

    :param size: bytes of an alert.
    :param visits: of a night.
    :param seconds: in which a visit is to be with all, from the first alert that is sent.
    :param full: subscribers that take all of it, as community brokers do.
    :param filtered: subscribers that take one filter's alerts, ``cap`` of a visit.
    :param groups: of filter processes, each of which reads the stream once.
    :param copies: of each message, on as many brokers.
    :param days: for which all is kept.
    """

    name: str = "yours"
    alerts: int = 10_000
    size: float = 100e3
    visits: int = 1000
    seconds: float = 20.0
    full: int = 7
    filters: int = 100
    cap: int = 20
    filtered: int = 100
    groups: int = 1
    copies: int = 3
    days: float = 7.0

    @property
    def visit(self) -> float:
        """Bytes of a visit."""
        return self.alerts * self.size

    @property
    def passed(self) -> float:
        """Bytes of a visit that one filter lets through."""
        return min(self.cap, self.alerts) * self.size


STREAMS = (
    Stream("10,000 alerts a visit, 7 full streams, 100 filtered"),
    Stream("the same without full streams", full=0),
    Stream("the same with 100 full streams", full=100),
    Stream("100,000 alerts a visit, 7 full streams, 100 filtered", alerts=100_000),
)


@dataclass(frozen=True)
class Costs:
    """Seconds of a processor for a GB: a broker's, and of alertstream's own processes.

    ``write`` is what a broker takes to receive it, ``copy`` to keep another copy, ``read`` to give
    it to a subscriber, ``publish`` to receive it from filters, in transactions to many topics.
    ``send`` and ``filter`` are those of the processes, ``judge`` that of each filter more.
    ``alert`` is what a process with filters takes for each alert besides, seconds of a processor.
    """

    write: float
    copy: float
    read: float
    publish: float
    send: float
    filter: float
    judge: float
    alert: float

    def filtering(self, stream: Stream, filters: int) -> float:
        """Return what a process with so many filters takes for a visit, seconds of a processor."""
        bytes_too = self.filter + (filters - 1) * self.judge
        return stream.visit / 1e9 * bytes_too + stream.alerts * self.alert


@dataclass(frozen=True)
class Need:
    """What a stream needs while a visit is sent: bytes a second, bytes, and processors."""

    incoming: float
    copied: float
    outgoing: float
    night: float
    disk: float
    kafka: float
    clients: float
    brokers: int
    limit: str
    partitions: int


def costs_in(figures: dict[str, Any]) -> Costs:
    """Return the costs that the bench has measured."""
    costs = figures["costs"]
    one, hundred = costs["filter 1"], costs["filter 1-100"]
    passed = 99 * 20 / figures["alerts"]
    # One more filter may cost less than the measurements' scatter.
    judge = max(hundred["client"] - one["client"], 0.0) / 99
    alert, filter_ = _apart(figures)
    write = costs["send"]["kafka"]
    return Costs(
        write=write,
        copy=(costs["send, 3 copies"]["kafka"] - write) / 2,
        read=costs["10 subscribers"]["kafka"],
        publish=(hundred["kafka"] - one["kafka"]) / passed,
        send=costs["send"]["client"],
        filter=filter_,
        judge=judge,
        alert=alert,
    )


def _apart(figures: dict[str, Any]) -> tuple[float, float]:
    """Return a filter's cost per alert, and per GB: two sizes of alerts were measured."""
    sizes = figures["small_alert_bytes"], figures["alert_bytes"]
    points = "filter 1, small alerts", "filter 1"
    small, large = (
        figures["costs"][point]["client"] / 1e9 * size
        for point, size in zip(points, sizes, strict=True)
    )
    slope = (large - small) / (sizes[1] - sizes[0])
    return small - slope * sizes[0], slope * 1e9


def need(stream: Stream, costs: Costs) -> Need:
    """Return what a stream needs of brokers with ``NETWORK``, ``DISK`` and ``CORES``."""
    passed = stream.filters * stream.passed
    written = stream.visit + passed
    copied = (stream.copies - 1) * written
    read = (stream.full + stream.groups) * stream.visit + stream.filtered * stream.passed
    kafka = (
        stream.visit * costs.write
        + passed * costs.publish
        + copied * costs.copy
        + read * costs.read
    ) / 1e9
    filtering = stream.groups * costs.filtering(stream, stream.filters)
    clients = stream.visit / 1e9 * costs.send + filtering
    brokers = {
        "network in": (written + copied) / stream.seconds / NETWORK,
        "network out": (read + copied) / stream.seconds / NETWORK,
        "disk": (written + copied) / stream.seconds / DISK,
        "processors": kafka / stream.seconds / CORES,
    }
    limit = max(brokers, key=lambda each: brokers[each])
    enough = math.ceil(brokers[limit] / USED)
    members = math.ceil(filtering / stream.seconds / USED)
    return Need(
        incoming=written / stream.seconds,
        copied=copied / stream.seconds,
        outgoing=read / stream.seconds,
        night=stream.visits * stream.visit,
        disk=stream.days * stream.visits * (written + copied),
        kafka=kafka / stream.seconds,
        clients=clients / stream.seconds,
        brokers=max(stream.copies, enough),
        limit=limit if enough > stream.copies else "copies",
        partitions=PARTITIONS * math.ceil(members / PARTITIONS),
    )


def plan(streams: Sequence[Stream], costs: Costs) -> str:
    """Return the table of what streams need, in Markdown."""
    rates = ("in, MB/s", "copies, MB/s", "out, MB/s")
    rest = ("TB a night", "TB on disks", "processors, Kafka", "processors, alertstream")
    rows = [["stream", *rates, *rest, "brokers", "partitions"]]
    for stream in streams:
        found = need(stream, costs)
        rows.append(
            [
                stream.name,
                *(f"{rate / 1e6:,.0f}" for rate in (found.incoming, found.copied, found.outgoing)),
                *(f"{size / 1e12:,.1f}" for size in (found.night, found.disk)),
                *(f"{cores:.1f}" for cores in (found.kafka, found.clients)),
                f"{found.brokers}, for {found.limit}",
                str(found.partitions),
            ]
        )
    return _table(rows)


def check(figures: dict[str, Any]) -> str:
    """Return the table of curves, with the seconds expected from the costs."""
    rows = [["what", "expected, s", "measured, s", "measured / expected"]]
    for curve, point, expected in expectations(figures):
        measured = measured_seconds(figures, curve, point)
        ratio = f"{measured / expected:.2f}"
        rows.append([f"{curve}: {point}", f"{expected:.1f}", f"{measured:.1f}", ratio])
    return _table(rows)


def expectations(figures: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yield points of curves, and how long they would take with all processors always busy."""
    costs, alerts, size = costs_in(figures), figures["alerts"], figures["alert_bytes"]
    visit = Stream(alerts=alerts, size=size)
    small = Stream(alerts=alerts, size=figures["small_alert_bytes"])

    def filtering(stream: Stream, filters: int) -> float:
        kafka = filters * stream.passed * costs.publish + stream.visit * costs.read
        return (costs.filtering(stream, filters) + kafka / 1e9) / MEASURED_ON

    for filters in (10, 250):
        yield "filters", f"{filters} filters", filtering(visit, filters)
    for partitions in (1, 8):
        expected = filtering(visit, 100)
        yield "partitions", f"filter 1-100, {partitions} partitions", expected
    sending = (costs.send + costs.write) / 1e9 / MEASURED_ON
    yield "visits", f"send, {10 * alerts} alerts", 10 * small.visit * sending
    many = replace(small, alerts=10 * alerts)
    yield "visits", f"filter 1-100, {10 * alerts} alerts", filtering(many, 100)
    fifth = visit.visit / 5
    reader = figures["costs"]["10 subscribers"]["client"]
    expected = 50 * fifth * (costs.read + reader) / 1e9 / MEASURED_ON
    yield "subscribers", "50 subscribers", expected


def measured_seconds(figures: dict[str, Any], curve: str, point: str) -> float:
    """Return the median of a curve's point."""
    found = next(each for each in figures[curve] if each["name"] == point)
    return statistics.median(found["seconds"])


def costs_table(costs: Costs) -> str:
    """Return the table of costs, in Markdown."""
    rows = [["cost", "seconds of a processor for a GB"]]
    rows += [[each.name, f"{getattr(costs, each.name):.2f}"] for each in fields(costs)[:-1]]
    rows.append(["alert", f"{costs.alert * 1e6:.0f} µs for an alert"])
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def tables() -> dict[str, str]:
    """Return the tables of the page, by name."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    costs = costs_in(figures)
    return {
        "costs": costs_table(costs),
        "plan": plan(STREAMS, costs),
        "check": check(figures),
    }


def main() -> None:
    """Print the tables, or what the stream on the command line needs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for each in fields(Stream)[1:]:
        parser.add_argument(f"--{each.name}", type=type(each.default))
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    if given:
        figures = json.loads(FIGURES.read_text(encoding="utf-8"))
        print(plan([replace(Stream(), **given)], costs_in(figures)))
        return
    print("\n\n".join(tables().values()))


if __name__ == "__main__":
    main()
