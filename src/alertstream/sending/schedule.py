"""The visit clock: which files are sent when.

One visit is one burst. Bursts start at multiples of the interval on the wall clock, as a
telescope's do. The clock is handed in, so that nothing here has to sleep to be tested.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

from alertstream.errors import DataError


class Clock:
    """The machine's wall clock."""

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return time.time()

    async def wait_until(self, when: float, stop: asyncio.Event) -> None:
        """Return at ``when``, or earlier once ``stop`` is set."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(when - self.now(), 0)):
                await stop.wait()


@dataclass(frozen=True)
class Cadence:
    """How visits follow each other.

    :param interval: seconds from one burst's start to the next; 0 is as fast as possible.
    :param align: start at multiples of the interval on the clock, or else at once.
    :param repeat: how often all files are sent; 0 is for ever.
    """

    interval: float = 39.0
    align: bool = True
    repeat: int = 1

    def next_start(self, now: float, previous: float | None, first: float) -> float:
        """Return when the burst after the one that started at ``previous`` starts.

        A burst that outlasts the interval makes the next one wait for a later multiple of it.

        :param first: when the first burst could have started.
        """
        if self.interval == 0:
            return now
        origin = 0.0 if self.align else first
        steps = math.ceil(round((now - origin) / self.interval, 6))
        if previous is not None:
            steps = max(steps, round((previous - origin) / self.interval) + 1)
        return origin + steps * self.interval


@dataclass(frozen=True)
class VisitFiles:
    """The files of one visit: a file, or a folder's, as where each detector has its own."""

    path: Path
    files: tuple[Path, ...]


Burst = tuple[VisitFiles, float]
"""A visit whose time has come, and when that was: seconds since 1970."""


async def bursts(
    visits: Sequence[VisitFiles], cadence: Cadence, clock: Clock, stop: asyncio.Event
) -> AsyncIterator[Burst]:
    """Yield each visit when its burst is due, until ``stop``."""
    first, previous = clock.now(), None
    rounds = repeat(visits, cadence.repeat) if cadence.repeat else repeat(visits)
    for visit in chain.from_iterable(rounds):
        start = cadence.next_start(clock.now(), previous, first)
        await clock.wait_until(start, stop)
        if stop.is_set():
            return
        yield visit, start
        previous = start


def files_of(visits: Iterable[VisitFiles]) -> list[Path]:
    """Return all files of visits, in order."""
    return [path for visit in visits for path in visit.files]


def visits_in(paths: Sequence[Path]) -> list[VisitFiles]:
    """Return the visits that ``paths`` name: container files, and what is in folders.

    In a folder, each ``.avro`` file is a visit, and each folder of such files, sorted by name.

    :raises DataError: a path is not there, or a folder has no such file.
    """
    return [visit for path in paths for visit in _visits_at(path)]


def _visits_at(path: Path) -> list[VisitFiles]:
    if not path.exists():
        raise DataError("there is no such file or folder", where=str(path), todo="choose another")
    if not path.is_dir():
        return [VisitFiles(path, (path,))]
    inside = [VisitFiles(each, _alert_files(each)) for each in sorted(path.iterdir())]
    found = [visit for visit in inside if visit.files]
    if not found:
        raise DataError("the folder has no .avro files", where=str(path), todo="choose another")
    return found


def _alert_files(path: Path) -> tuple[Path, ...]:
    """Return the ``.avro`` file that a path is, or those in the folder that it is."""
    files = path.glob("*.avro") if path.is_dir() else [path]
    return tuple(sorted(each for each in files if each.suffix == ".avro" and each.is_file()))
