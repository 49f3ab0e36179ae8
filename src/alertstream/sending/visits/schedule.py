"""The visit clock: which alerts are sent when.

One visit is one burst, unless its alerts arrive as its detectors are processed, or as they were
recorded. Visits start at multiples of the interval on the wall clock, as a telescope's do. The
clock is handed in, so that nothing here has to sleep to be tested.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, repeat
from pathlib import Path
from random import Random
from typing import NamedTuple

from alertstream.errors import DataError, UsageError
from alertstream.reading.recording import RecordedMessage
from alertstream.system.cancellation import stopped_within

MAX_INTERVAL = 86_400
"""Seconds: a day."""
DETECTORS = 189
"""Of LSST's camera; a process for each sends its alerts."""
MAX_DELAY = 1.9
"""Intervals after which the last detector's alerts have arrived."""
TOGETHER = 0.01
"""Seconds."""
ENDINGS = (".avro", ".avro.gz")
"""Extensions of files of alerts in a folder."""


class Clock:
    """The machine's wall clock."""

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return time.time()

    async def wait_until(self, when: float, stop: asyncio.Event) -> None:
        """Return at ``when``, or earlier once ``stop`` is set."""
        await stopped_within(stop, when - self.now())


@dataclass(frozen=True)
class Cadence:
    """How visits follow each other.

    :param interval: seconds from one burst's start to the next; 0 is as fast as possible.
    :param align: start at multiples of the interval on the clock, or else at once.
    :param repeat: how often all files are sent; 0 is for ever.
    :raises UsageError: the interval is not valid.
    """

    interval: float = 39.0
    align: bool = True
    repeat: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.interval <= MAX_INTERVAL:
            what = f"{self.interval} is not a valid interval"
            raise UsageError(what, todo=f"give seconds, 0 to {MAX_INTERVAL}")

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


class Recorded(NamedTuple):
    """A record of a saved file: the place of its block, and its message."""

    start: int
    message: RecordedMessage | None = None

    @property
    def time(self) -> float:
        """The timestamp of its message, s since 1970."""
        return self.message.timestamp / 1000 if self.message else 0.0


@dataclass(frozen=True)
class VisitFiles:
    """The files of one visit: a single file, or a folder's, such as one per detector.

    :param records: the visit's records, in order, in a file with several visits.
    """

    path: Path
    files: tuple[Path, ...]
    records: tuple[Recorded, ...] | None = None


class Arrival(NamedTuple):
    """How many alerts of a visit arrive at a time, s since 1970."""

    due: float
    alerts: int


def detectors_of(alerts: int) -> list[int]:
    """Return how many of a visit's alerts each of ``DETECTORS`` has: equal shares."""
    ends = [alerts * number // DETECTORS for number in range(DETECTORS + 1)]
    return [end - start for start, end in pairwise(ends)]


def detector_arrivals(
    counts: Sequence[int], start: float, interval: float, rng: Random
) -> list[Arrival]:
    """Return when the alerts of each detector of a visit arrive, in order.

    Most come within half the interval. A few are so late that the next visit has begun.

    :param counts: how many alerts the detectors have, in the order in which they arrive.
    """
    delays = sorted(min(rng.gammavariate(2, 0.2), MAX_DELAY) for _ in counts)
    return [
        Arrival(start + delay * interval, count)
        for delay, count in zip(delays, counts, strict=True)
        if count
    ]


def recorded_arrivals(records: Sequence[Recorded], start: float, speed: float) -> list[Arrival]:
    """Return when a visit's records are due that were recorded in this order.

    What came within ``TOGETHER`` is due together.
    """
    arrivals: list[Arrival] = []
    for record in records:
        due = start + (record.time - records[0].time) / speed
        if arrivals and due - arrivals[-1].due < TOGETHER:
            arrivals[-1] = arrivals[-1]._replace(alerts=arrivals[-1].alerts + 1)
        else:
            arrivals.append(Arrival(due, 1))
    return arrivals


Announce = Callable[[float], None]
Burst = tuple[VisitFiles, float]
"""A visit whose time has come, and when that was: seconds since 1970."""


async def bursts(
    visits: Sequence[VisitFiles],
    cadence: Cadence,
    clock: Clock,
    stop: asyncio.Event,
    announce: Announce = lambda start: None,
) -> AsyncIterator[Burst]:
    """Yield each visit when its burst is due, until ``stop``.

    :param announce: called with the time of the next burst while it is waited for.
    """
    first, previous = clock.now(), None
    rounds = repeat(visits, cadence.repeat) if cadence.repeat else repeat(visits)
    for visit in chain.from_iterable(rounds):
        start = cadence.next_start(clock.now(), previous, first)
        if not await _comes(start, clock, stop, announce):
            return
        yield visit, start
        previous = start


async def replayed(
    visits: Sequence[VisitFiles],
    speed: float,
    clock: Clock,
    stop: asyncio.Event,
    announce: Announce = lambda start: None,
) -> AsyncIterator[Burst]:
    """Yield each recorded visit when its first alert is due, until ``stop``; they may overlap.

    :param speed: how many times as fast as it was recorded.
    :param announce: called with the time of the next visit while it is waited for.
    """
    began = clock.now()
    in_order = sorted(
        (visit.records[0].time, place) for place, visit in enumerate(visits) if visit.records
    )
    for time_, place in in_order:
        start = began + (time_ - in_order[0][0]) / speed
        if not await _comes(start, clock, stop, announce):
            return
        yield visits[place], start


async def _comes(start: float, clock: Clock, stop: asyncio.Event, announce: Announce) -> bool:
    """Announce a start and wait for it; return False if ``stop`` came first."""
    announce(start)
    await clock.wait_until(start, stop)
    return not stop.is_set()


def files_of(visits: Iterable[VisitFiles]) -> list[Path]:
    """Return all files of visits, in order, each once."""
    return list(dict.fromkeys(path for visit in visits for path in visit.files))


def visits_in(paths: Sequence[Path]) -> list[VisitFiles]:
    """Return the visits that ``paths`` name: container files, and what is in folders.

    In a folder, each ``.avro`` or ``.avro.gz`` file is a visit, and each folder of such files,
    sorted by name.

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
    """Return the file of alerts that a path is, or those in the folder that it is."""
    files = path.iterdir() if path.is_dir() else [path]
    return tuple(sorted(each for each in files if each.name.endswith(ENDINGS) and each.is_file()))
