"""Measure alertstream against what people use today, on one local Kafka, in one run.

::

    pip install -e '.[bench]'
    python -m bench                       # everything, a visit of 2,000 alerts
    python -m bench send --alerts 10000   # one part, a whole visit

Contenders take turns for several rounds; each runs in its own process. The table has medians,
their spread (minimum to maximum), the ratio to the first line, and peak memory. ``--out`` gets
the figures as JSON and a chart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alertstream.avro.schemas import Schemas
from alertstream.kafka.admin import make_topics
from alertstream.kafka.connection import Connection
from alertstream.kafka.topics import TopicLayout
from alertstream.local.broker.cluster import BrokerOptions, local_broker
from alertstream.local.broker.java import fetch_jars, find_java
from alertstream.local.simulate.files import SimulateOptions, simulate
from bench import decode, end_to_end, latency, sky
from bench.check import check_filtered, check_sent
from bench.contest import CUTOUT_SIZE, Contender, ours, rounds, show

WITHOUT_KAFKA = ("decode", "sky")
PARTS = ("send", "filter", "end-to-end", "history", "latency", *WITHOUT_KAFKA)
HISTORIES = (0, 345)


def producer_performance(broker: str, alerts: int, size: int) -> Contender:
    """Return Kafka's own benchmark: it sends messages of one size, made in memory."""
    lock = Path(__file__).with_name("kafka-tools.lock.toml")
    jars = fetch_jars(lock, notice=print)
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
    java = [str(find_java(None)), quiet, "-cp", os.pathsep.join(map(str, jars))]
    settings = [f"bootstrap.servers={broker}", "acks=all", "max.request.size=10000000"]
    return Contender(
        "ProducerPerformance (Java)",
        [
            *(*java, "org.apache.kafka.tools.ProducerPerformance", "--topic", "send-java"),
            *("--num-records", str(alerts), "--record-size", str(size), "--throughput", "-1"),
            *("--producer-props", *settings),
        ],
    )


def senders(broker: str, path: Path, alerts: int) -> list[Contender]:
    """Return the contenders that send the visit in ``path``."""
    found = [
        ours("alertstream send", "send_ours", broker, "send-ours", path),
        ours("librdkafka, raw bytes ready in memory", "send_librdkafka", broker, "send-raw", path),
        ours("decode, encode, librdkafka", "send_original", broker, "send-original", path),
    ]
    return [*found, producer_performance(broker, alerts, path.stat().st_size // alerts)]


def readers(broker: str) -> list[Contender]:
    """Return the contenders that read or filter the topic ``visit``."""
    return [
        ours("alertstream filter 1-100", "filter_ours", broker, "visit", "1-100"),
        ours("alertstream filter 1", "filter_ours", broker, "visit", "1"),
        ours("decode whole, 1 filter, librdkafka", "filter_original", broker, "visit"),
        ours("aiokafka, raw bytes", "read_aiokafka", broker, "visit"),
        ours("alertstream's stream, raw bytes", "read_ours", broker, "visit"),
        ours("librdkafka, raw bytes", "read_librdkafka", broker, "visit"),
        ours("alertstream print, JSON, decoded whole", "print_ours", broker, "visit"),
        ours("alertstream monitor", "monitor_ours", broker, "visit"),
    ]


async def histories(broker: str, folder: Path, alerts: int, count: int) -> list[Contender]:
    """Measure a filter on alerts without a history and with a long one, in seconds per 100 MB."""
    found: list[Contender] = []
    megabytes: list[float] = []
    for history in HISTORIES:
        topic, place = f"history-{history}", folder / str(history)
        simulation = SimulateOptions(
            place, 1, alerts, history=(history, history), cutout_size=CUTOUT_SIZE
        )
        (path,) = await asyncio.to_thread(simulate, simulation, Schemas().by_id(1000))
        ours("", "send_ours", broker, topic, path).measure()
        megabytes.append(path.stat().st_size / 1e6)
        found.append(ours(f"filter 1, history {history}", "filter_ours", broker, topic, "1"))
    await asyncio.to_thread(rounds, found, count)
    for each, size in zip(found, megabytes, strict=True):
        each.seconds = [seconds / size * 100 for seconds in each.seconds]
    return found


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the requested parts; return all figures."""
    figures: dict[str, Any] = {"alerts": options.alerts, "rounds": options.rounds}
    for part in WITHOUT_KAFKA:
        if part in options.parts:
            print(f"measuring {part}", file=sys.stderr)
            figures[part] = decode.measure() if part == "decode" else sky.measure(folder / part)
    with_kafka = [part for part in options.parts if part not in WITHOUT_KAFKA]
    if not with_kafka:
        return figures
    simulation = SimulateOptions(
        folder, 1, options.alerts, history=(0, 24), cutout_size=CUTOUT_SIZE
    )
    print(f"simulating a visit of {options.alerts} alerts", file=sys.stderr)
    (path,) = await asyncio.to_thread(simulate, simulation, Schemas().by_id(1000))
    figures["bytes"] = path.stat().st_size
    async with local_broker(BrokerOptions(port=0), notice=print) as broker:
        connection = Connection(broker.bootstrap)
        names = ["send-ours", "send-raw", "send-original", "send-java", "visit", "bench-original"]
        await make_topics(connection, names, TopicLayout())
        for part in with_kafka:
            print(f"measuring {part}", file=sys.stderr)
            if part == "send":
                contenders = senders(broker.bootstrap, path, options.alerts)
            elif part == "filter":
                ours("", "send_ours", broker.bootstrap, "visit", path).measure()
                contenders = readers(broker.bootstrap)
            elif part == "end-to-end":
                figures[part] = await end_to_end.measure(connection, path, options.rounds)
                continue
            elif part == "latency":
                figures[part] = await latency.measure(connection, folder / "steady", options.only)
                continue
            else:
                found = await histories(broker.bootstrap, folder, options.alerts, options.rounds)
                show("history, seconds for 100 MB", found, options.alerts)
                figures[part] = [asdict(each) | {"command": None} for each in found]
                continue
            await asyncio.to_thread(rounds, contenders, options.rounds)
            runs = options.rounds + 1
            if part == "send":
                await check_sent(connection, path, runs)
            else:
                await check_filtered(connection, path, ours=2 * runs, original=runs)
            show(part, contenders, options.alerts)
            figures[part] = [asdict(each) | {"command": None} for each in contenders]
    return figures


def main() -> None:
    """Parse the command line, measure, and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar=f"{{{','.join(PARTS)}}}")
    parser.add_argument("--alerts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="of latency, only what has this in its name")
    parser.add_argument("--out", type=Path, help="folder for bench.json and bench.svg")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"not a valid part: {', '.join(unknown)}")
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="alertstream-bench-") as folder:
        figures = asyncio.run(measure(options, Path(folder)))
    print(f"\n{time.monotonic() - begin:.0f} s in total", file=sys.stderr)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "bench.json").write_text(json.dumps(figures, indent=1) + "\n")
        from bench.chart import draw

        draw(figures, options.out / "bench.svg")


if __name__ == "__main__":
    main()
