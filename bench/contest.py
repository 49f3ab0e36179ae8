"""Contenders, each in its own process, and the table of their figures."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

CUTOUT_SIZE = 103
"""Pixels of a cutout's edge: alerts of 142 KB on average with histories of 0 to 24."""


@dataclass
class Contender:
    """A contender, and its figures, one a round."""

    name: str
    command: list[str]
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, other: Contender) -> None:
        """Add the figures of another one."""
        self.seconds += other.seconds
        self.megabytes += other.megabytes
        self.cpu += other.cpu

    def measure(self) -> None:
        """Run it once."""
        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen(self.command, stdout=out, cwd=Path(__file__).parents[1])
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"{self.name} has failed: {self.command}")
            out.seek(0)
            told = _measured(out.read().decode())
        self.seconds.append(told["seconds"])
        self.megabytes.append(told.get("megabytes") or usage.ru_maxrss / 1024)
        self.cpu.append(told.get("cpu") or usage.ru_utime + usage.ru_stime)


def _measured(printed: str) -> dict[str, float]:
    """Return what a contender has printed, or the seconds of Kafka's ProducerPerformance."""
    if printed.startswith("{"):
        return json.loads(printed)
    records, rate = printed.strip().splitlines()[-1].split(" records sent, ")
    return {"seconds": int(records) / float(rate.split()[0])}


def ours(name: str, contender: str, *arguments: object) -> Contender:
    """Return a contender that is one of ``contenders.py``."""
    module = ["-m", "bench.contenders", contender]
    return Contender(name, [sys.executable, *module, *map(str, arguments)])


def rounds(contenders: Sequence[Contender], count: int) -> None:
    """Let all take turns ``count`` times, after a warm-up that does not count."""
    for number in range(count + 1):
        for each in contenders:
            each.measure()
            if number == 0:
                each.seconds.clear()
                each.megabytes.clear()
                each.cpu.clear()


def show(title: str, contenders: Sequence[Contender], alerts: int) -> None:
    """Print the table of a part."""
    print(f"\n{title}: {alerts} alerts, medians of {len(contenders[0].seconds)} rounds")
    print(f"{'':40} {'seconds':>8} {'spread':>15} {'alerts/s':>9} {'ratio':>6} {'MB':>6}")
    first = statistics.median(contenders[0].seconds)
    for each in contenders:
        middle = statistics.median(each.seconds)
        spread = f"{min(each.seconds):.2f} – {max(each.seconds):.2f}"
        ratio, memory = middle / first, max(each.megabytes)
        print(
            f"{each.name:40} {middle:8.2f} {spread:>15} {alerts / middle:9.0f} "
            f"{ratio:6.2f} {memory:6.0f}"
        )
