"""Decodes messages that are made by chance, by three generators, as many as one likes.

python -m tests.faults.fuzz --inputs 1000000

Ctrl-C ends it with the account of what has been done.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import resource
import signal
import time
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.support.fuzzing import GENERATORS, MAX_MEGABYTES, Tally

CASES = 200
"""Cases that hypothesis makes at a time; it remembers them all."""
PART = 2_000
"""Inputs of one generator that a process makes, before another one goes on."""


class Part(NamedTuple):
    """What a process has to do, and where it begins."""

    generator: str
    inputs: int
    seed: int


def fuzz(part: Part) -> tuple[Tally, float]:
    """Return what has come of it, and by how many MB the process has grown at most.

    :raises AssertionError: an input has broken a promise; hypothesis says which.
    """
    made, check = GENERATORS[part.generator]
    options = settings(
        max_examples=min(CASES, part.inputs // 20 + 1),
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    tally, begin = Tally(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    number = part.seed
    while tally.inputs[part.generator] < part.inputs:
        seed(number)(options(given(made)(lambda made: check(made, tally))))()
        number += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin
    return tally, grown / 1024


def _leave_signals() -> None:
    """Leave Ctrl-C to the process that has the account."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args()
    begin, count = time.monotonic(), -(-given.inputs // len(GENERATORS) // PART)
    size = -(-given.inputs // len(GENERATORS) // count)
    parts = [
        Part(generator, size, given.seed + number * 1_000_000)
        for number in range(count)
        for generator in GENERATORS
    ]
    total, megabytes = Tally(), 0.0
    with (
        multiprocessing.Pool(given.processes, _leave_signals, maxtasksperchild=1) as pool,
        suppress(KeyboardInterrupt),
    ):
        for tally, grown in pool.imap_unordered(fuzz, parts, chunksize=1):
            total.add(tally)
            megabytes = max(megabytes, grown)
    print(f"{'generator':<12}{'inputs':>10}{'alerts':>10}{'refused':>10}")
    for name, inputs in sorted(total.inputs.items()):
        alerts = total.alerts[name]
        print(f"{name:<12}{inputs:>10,}{alerts:>10,}{inputs - alerts:>10,}")
    print("\nrefused as")
    causes: Counter[str] = Counter()
    for cause, count in total.refused.items():
        # Not of which id or name.
        causes[re.split(r" \d|(?<=Avro schema): ", cause)[0]] += count
    for cause, count in causes.most_common():
        print(f"{count:>10,}  {cause}")
    print(
        f"\n{total.inputs.total():,} inputs in {time.monotonic() - begin:.0f} s, seed {given.seed};"
        f" the slowest took {total.slowest:.2f} s; a process grew by {megabytes:.0f} MB at most"
    )
    assert megabytes < MAX_MEGABYTES


if __name__ == "__main__":
    main()
