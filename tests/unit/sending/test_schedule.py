"""The visit clock, on a clock that nobody has to wait for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from alertstream.errors import DataError
from alertstream.reading.recording import RecordedMessage
from alertstream.sending.visits.schedule import (
    Arrival,
    Cadence,
    Recorded,
    VisitFiles,
    bursts,
    detector_arrivals,
    detectors_of,
    recorded_arrivals,
    replayed,
    visits_in,
)

FILES = [VisitFiles(Path(name), (Path(name),)) for name in ("a", "b", "c")]


class Clock:
    """Stands still but for waiting, and for what a burst takes."""

    def __init__(self, now: float) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    async def wait_until(self, when: float, stop: asyncio.Event) -> None:
        assert when >= self.time
        self.time = when


def starts(cadence: Cadence, now: float, takes: float = 1.0, most: int = 10) -> list[float]:
    async def collect() -> list[float]:
        clock, stop, found = Clock(now), asyncio.Event(), []
        announced: list[float] = []
        async for _, start in bursts(FILES, cadence, clock, stop, announced.append):
            assert start == clock.time == announced[-1]
            found.append(start)
            clock.time += takes
            if len(found) == most:
                stop.set()
        return found

    return asyncio.run(collect())


@pytest.mark.parametrize(
    ("cadence", "now", "takes", "expected"),
    [
        (Cadence(39), 1000.0, 1, [1014, 1053, 1092]),
        (Cadence(39), 1014.0, 1, [1014, 1053, 1092]),
        (Cadence(39), 1014.1, 38.99, [1053, 1092, 1131]),
        (Cadence(39), 1000.0, 39, [1014, 1053, 1092]),
        (Cadence(39), 1000.0, 40, [1014, 1092, 1170]),
        (Cadence(39), 1000.0, 100, [1014, 1131, 1248]),
        (Cadence(39, align=False), 1000.5, 1, [1000.5, 1039.5, 1078.5]),
        (Cadence(39, align=False), 1000.5, 50, [1000.5, 1078.5, 1156.5]),
        (Cadence(0), 1000.0, 5, [1000, 1005, 1010]),
        (Cadence(0.1), 1000.0, 0.01, [1000, 1000.1, 1000.2]),
        (Cadence(10, repeat=2), 5.0, 1, [10, 20, 30, 40, 50, 60]),
    ],
)
def test_bursts_start_when_they_are_due(
    cadence: Cadence, now: float, takes: float, expected: list[float]
) -> None:
    assert starts(cadence, now, takes) == pytest.approx(expected)


def test_repeats_for_ever_until_stopped() -> None:
    assert len(starts(Cadence(1, repeat=0), 0.5, 0.1, most=1000)) == 1000


def test_files_of_folders_are_sorted(tmp_path: Path) -> None:
    for name in ("c.avro", "a.avro", "b.avro", "README.md"):
        (tmp_path / name).touch()
    single = tmp_path / "README.md"
    found = [visit.path.name for visit in visits_in([single, tmp_path])]
    assert found == ["README.md", "a.avro", "b.avro", "c.avro"]


def test_a_folder_in_a_folder_is_a_visit(tmp_path: Path) -> None:
    for name in ("b/det2.avro", "b/det1.avro", "a/det1.avro", "c.avro", "none/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = {
        visit.path.name: [file.name for file in visit.files] for visit in visits_in([tmp_path])
    }
    assert found == {
        "a": ["det1.avro"],
        "b": ["det1.avro", "det2.avro"],
        "c.avro": ["c.avro"],
    }
    assert list(found) == ["a", "b", "c.avro"]


def test_nothing_to_send(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.avro files"):
        visits_in([tmp_path])
    with pytest.raises(DataError, match="no such file or folder"):
        visits_in([tmp_path / "none"])


@pytest.mark.parametrize("alerts", [0, 1, 100, 189, 10_000])
def test_detectors_share_a_visit(alerts: int) -> None:
    shares = detectors_of(alerts)
    assert (len(shares), sum(shares)) == (189, alerts)
    assert max(shares) - min(shares) <= 1


def test_detectors_arrive_one_after_the_other_and_visits_overlap() -> None:
    counts = detectors_of(10_000)
    arrivals = detector_arrivals(counts, 1000.0, 39.0, Random("1/a"))
    assert [each.alerts for each in arrivals] == counts
    times = [each.due - 1000 for each in arrivals]
    assert times == sorted(times)
    assert 0 < times[0] < 10
    assert 5 < times[94] < 20
    assert 39 < times[-1] < 80
    assert 1 <= sum(time > 39 for time in times) < 40
    assert detector_arrivals(counts, 1000.0, 39.0, Random("1/a")) == arrivals
    assert detector_arrivals(counts, 1000.0, 39.0, Random("2/a")) != arrivals


def test_detectors_without_alerts_send_nothing() -> None:
    arrivals = detector_arrivals([0, 3, 0], 0.0, 1.0, Random(1))
    assert [each.alerts for each in arrivals] == [3]


def recorded(*times: float) -> tuple[Recorded, ...]:
    return tuple(Recorded(0, RecordedMessage(0, round(time * 1000), None, ())) for time in times)


def test_recorded_spacing() -> None:
    records = recorded(100, 100.005, 100.5, 120)
    assert recorded_arrivals(records, 7.0, 1) == [Arrival(7, 2), Arrival(7.5, 1), Arrival(27, 1)]
    assert recorded_arrivals(records, 7.0, 10) == [Arrival(7, 2), Arrival(7.05, 1), Arrival(9, 1)]
    assert recorded_arrivals((), 7.0, 1) == []


def test_recorded_visits_start_as_they_did() -> None:
    path = Path("night.avro")
    visits = [
        VisitFiles(path, (path,), recorded(*times)) for times in ((140, 190), (100, 145), (160,))
    ]

    async def collect(speed: float) -> list[tuple[VisitFiles, float]]:
        clock, stop = Clock(1000.0), asyncio.Event()
        return [each async for each in replayed(visits, speed, clock, stop)]

    expected = [(visits[1], 1000), (visits[0], 1040), (visits[2], 1060)]
    assert asyncio.run(collect(1)) == expected
    assert asyncio.run(collect(10)) == [(v, 1000 + (t - 1000) / 10) for v, t in expected]
