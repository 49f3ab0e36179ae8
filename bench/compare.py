"""Measure this checkout against another one, on one local Kafka, in one run.

::

    python -m bench.compare ../before --python ../before/venv/bin/python

Both take turns for several rounds, with the same visit. The table has the medians and their ratio:
1.05 means that this checkout takes 5 % longer. A few per cent of noise is normal: see the spread.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from alertstream.avro.schemas import Schemas
from alertstream.kafka.admin import make_topics
from alertstream.kafka.connection import Connection
from alertstream.kafka.topics import TopicLayout
from alertstream.local.broker.cluster import BrokerOptions, local_broker
from alertstream.local.simulate.files import SimulateOptions, simulate
from bench.contest import CUTOUT_SIZE, Contender, ours, rounds

PARTS: dict[str, tuple[str, ...]] = {
    "send": ("send_ours", "sent-{}", "{path}"),
    "filter 1-100": ("filter_ours", "visit", "1-100"),
    "filter 1": ("filter_ours", "visit", "1"),
    "read": ("read_ours", "visit"),
    "print": ("print_ours", "visit"),
    "monitor": ("monitor_ours", "visit"),
}
"""A contender of ``contenders.py`` and its arguments after the broker's address."""


def of(checkout: Path, python: Path, contender: str, *arguments: object) -> Contender:
    """Return a contender of another checkout."""
    module = "bench" if (checkout / "bench").exists() else "tests.bench"
    paths = os.pathsep.join((str(checkout / "src"), str(checkout)))
    command = ["env", f"PYTHONPATH={paths}", str(python), "-P", "-m", f"{module}.contenders"]
    return Contender(contender, [*command, contender, *map(str, arguments)])


def show(parts: Sequence[str], now: Sequence[Contender], before: Sequence[Contender]) -> None:
    """Print the table."""
    print(f"\n{'':20} {'before':>8} {'now':>8} {'ratio':>6} {'spread of both':>32}")
    for part, *pair in zip(parts, before, now, strict=True):
        old, new = (statistics.median(each.seconds) for each in pair)
        spread = "   ".join(f"{min(e.seconds):.2f} – {max(e.seconds):.2f}" for e in pair)
        print(f"{part:20} {old:8.2f} {new:8.2f} {new / old:6.2f} {spread:>32}")


async def compare(options: argparse.Namespace, folder: Path) -> None:
    """Run all parts."""
    size = SimulateOptions(folder, 1, options.alerts, history=(0, 24), cutout_size=CUTOUT_SIZE)
    (path,) = await asyncio.to_thread(simulate, size, Schemas().by_id(1000))
    async with local_broker(BrokerOptions(port=0), notice=print) as broker:
        names = ["sent-now", "sent-before", "visit"]
        await make_topics(Connection(broker.bootstrap), names, TopicLayout())
        ours("", "send_ours", broker.bootstrap, "visit", path).measure()
        now, before = [], []
        for part in options.parts:
            contender, *arguments = PARTS[part]
            for found, side in ((now, "now"), (before, "before")):
                given = (broker.bootstrap, *(each.format(side, path=path) for each in arguments))
                if side == "now":
                    found.append(ours(contender, contender, *given))
                else:
                    found.append(of(options.checkout, options.python, contender, *given))
            await asyncio.to_thread(rounds, [before[-1], now[-1]], options.rounds)
            print(f"{part} is measured", file=sys.stderr)
    show(options.parts, now, before)


def main() -> None:
    """Parse the command line, and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkout", type=lambda text: Path(text).absolute())
    parser.add_argument("--python", type=Path, default=sys.executable, help="its interpreter")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--alerts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="alertstream-bench-") as folder:
        asyncio.run(compare(options, Path(folder)))


if __name__ == "__main__":
    main()
