"""Where an alert's latency begins, by each of the three clocks."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.samples import VERSIONS, sample_alert

from alertstream.alert.alert import Alert
from alertstream.filtering.expression import WhereFilter
from alertstream.filtering.filters import AlertFilter
from alertstream.filtering.selection import Selection
from alertstream.kafka.messages import Message
from alertstream.monitoring.stats import Times
from alertstream.monitoring.watch import Watch, times_of
from alertstream.reading.decoder import ReceivedAlert

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp() * 1000
MJD = 61371.5
"""That noon, UTC."""


def times(alert: dict[str, Any], **headers: bytes | None) -> Times:
    message = Message("alerts", 0, 7, 1234, None, b"", tuple(headers.items()))
    return times_of(ReceivedAlert(alert, message))


@pytest.mark.parametrize(
    ("alert", "seconds"),
    [
        ({"diaSource": {"midpointMjdTai": MJD, "exposureTime": 20.0}}, -37 + 10),
        ({"diaSource": {"midpointMjdTai": MJD, "exposureTime": None}}, -37 + 15),
        ({"diaSource": {"midpointMjdTai": MJD, "exposureTime": math.nan}}, -37 + 15),
        ({"diaSource": {"midPointTai": MJD}}, -37 + 15),
        ({"candidate": {"jd": MJD + 2_400_000.5, "exptime": 40.0}}, 40),
        ({"candidate": {"jd": MJD + 2_400_000.5}}, 30),
    ],
)
def test_shutter_closes_at_the_end_of_the_exposure(alert: dict[str, Any], seconds: float) -> None:
    assert times(alert).shutter == pytest.approx(NOON + seconds * 1000, abs=1)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_says_when_the_shutter_closed(version: str) -> None:
    alert = sample_alert(version)
    source = alert["diaSource"]
    mjd = source.get("midpointMjdTai", source.get("midPointTai"))
    expected = (mjd - 40587) * 86400 - 37 + (source.get("exposureTime") or 30) / 2
    assert times(alert).shutter == pytest.approx(expected * 1000, abs=1)


@pytest.mark.parametrize(
    "alert",
    [
        {},
        {"diaSource": None},
        {"diaSource": {"midpointMjdTai": None}},
        {"diaSource": {"midpointMjdTai": "yesterday"}},
        {"diaSource": {"midpointMjdTai": MJD, "exposureTime": [1]}},
        {"diaSource": [{"midpointMjdTai": MJD}]},
    ],
)
def test_an_alert_without_times(alert: dict[str, Any]) -> None:
    assert math.isnan(times(alert).shutter)


@pytest.mark.parametrize(
    "content",
    [
        b"%d" % NOON,
        b"%.3f" % NOON,
        int(NOON).to_bytes(8),
        b"2026-11-27T12:00:00",
        b"2026-11-27T13:00:00.000+01:00",
        b"2026-11-27 12:00:00Z",
    ],
)
def test_header_of_the_producer(content: bytes) -> None:
    assert times({}, other=b"1", producer_timestamp=content).producer == NOON


@pytest.mark.parametrize("content", [None, b"", b"soon", b"\xff\xfe", b"nan", b"9999-99-99"])
def test_header_of_the_producer_that_says_nothing(content: bytes | None) -> None:
    assert math.isnan(times({}, producer_timestamp=content).producer)
    assert times({}).timestamp == 1234


class Breaks(AlertFilter):
    """Raises an error on whatever has no SNR."""

    fields = ("snr",)

    def passes(self, alert: Alert) -> bool:
        return 1 / alert["diaSource"]["snr"] > 0


def test_filters_choose_what_is_counted() -> None:
    told: list[str] = []
    above = [WhereFilter("snr > 5", "--where")]
    watch = Watch(("alerts",), Selection([[Breaks()], above], told.append))
    assert watch.paths() is not None
    message = Message("alerts", 0, 7, 1234, None, b"12345")
    for snr in (9.0, 4.0, 0, 0):
        fields = {"diaSource": {"snr": snr, "visit": 5}}
        watch.add(ReceivedAlert(fields, message), NOON / 1000)
    found = watch.snapshot()["topics"]["alerts"]
    counts = [found[name] for name in ("alerts", "skipped", "failed", "undecodable", "bytes")]
    assert counts == [1, 1, 2, 0, 20]
    assert list(found["visits"]) == ["5"]
    assert len(told) == 1


def test_what_was_there_before_has_no_latency() -> None:
    watch = Watch(("alerts",))
    watch.ends = {("alerts", 0): 8}
    for offset in (7, 8):
        message = Message("alerts", 0, offset, int(NOON), None, b"12345")
        alert = ReceivedAlert({"diaSource": {"visit": offset, "midpointMjdTai": MJD}}, message)
        watch.add(alert, NOON / 1000 + 100)
    before, since = watch.snapshot()["topics"]["alerts"]["visits"].values()
    assert (before["alerts"], before["past"], before["late"]) == (1, 1, 0)
    assert before["latency_max_ms"] is before["seconds"] is before["latency_from_shutter"] is None
    assert (since["past"], since["late"], since["latency_p50_ms"]) == (0, 1, 100_000)
    assert since["seconds"] == 100
