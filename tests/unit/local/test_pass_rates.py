"""Which share passes filters, by band and visit, and the picture of it."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.support.samples import body_of, sample_alert

from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import pack
from alertstream.filtering.account import FilterCounts
from alertstream.kafka.messages import Copy, Message
from alertstream.local.chart import chart
from alertstream.local.pass_rates import COLUMNS, MAX_BANDS, PassRates, guard_violation

ALERT = sample_alert("10.0")


def message(offset: int, **source: Any) -> Message:
    alert = ALERT | {"diaSource": ALERT["diaSource"] | source}
    return Message("a.avro", 0, offset, 0, None, pack(1000, body_of(alert, "10.0")))


def counted(*messages: Message, passing: dict[str, tuple[int, ...]]) -> PassRates:
    found = PassRates([*passing], Schemas())
    copies = [Copy(topic, messages[at]) for topic, places in passing.items() for at in places]
    found.add(messages, [*copies, Copy("a.avro-undecodable", messages[-1], "junk")])
    return found


def test_shares_by_band_and_visit() -> None:
    bright = {"ra": 10.0, "dec": -5.0, "psfFlux": 36_307.8}
    found = counted(
        *(message(at, band=band, **bright) for at, band in enumerate("rgrr")),
        message(4, band=None, psfFlux=-5.0, ra=10.0, dec=-5.0),
        Message("a.avro", 0, 5, 0, None, b"junk"),
        passing={"A": (0, 1), "B": ()},
    )
    counts = [
        FilterCounts("A", visit=7, seen=2, passed=2),
        FilterCounts("A", visit=8, seen=3),
        FilterCounts("A", seen=6, passed=2, undecodable=1, final=True),
        FilterCounts("B", seen=6, undecodable=1, final=True),
    ]
    assert found.lines(counts) == [
        "A  40 % pass: g 100 %, r 33.3 %, - 0 % · of a visit 0 % to 100 %",
        "B  0 % pass: g 0 %, r 0 %, - 0 %",
        "mag 14       █        28  all alerts",
        "mag 14       █        28  what passes",
    ]
    assert found.as_json(counts[2])["share"] == 0.4
    assert found.as_json(counts[2])["bands"]["r"] == {"seen": 3, "passed": 1}
    assert "bands" not in found.as_json(counts[0])
    rows = np.array(found.alerts).reshape(-1, len(COLUMNS))
    assert rows[:, 4].tolist() == [1, 1, 0, 0, 0]
    assert rows[:4, 2] == pytest.approx(20.0)
    assert math.isnan(rows[4, 2])


def test_guard() -> None:
    def total(name: str, passed: int, seen: int = 100) -> FilterCounts:
        return FilterCounts(name, seen=seen, passed=passed, final=True)

    assert guard_violation([total("A", 5), total("B", 0, seen=0)], 0.05) is None
    assert guard_violation([total("A", 6), total("B", 1)], 0.05) == "A passes 6 % of the alerts"
    many = [total("A", 6), total("B", 9), total("C", 7)]
    assert guard_violation(many, 0.05) == "B passes 9 % of the alerts, and 2 more filters too many"
    assert (
        guard_violation([total("A", 0, seen=0)], 1.0)
        == "there are no alerts that could say how many pass"
    )


@pytest.mark.hostile("18.5: a file with a band of its own for each alert")
def test_bands_are_bounded() -> None:
    names = [f"\x1b[2J{number:04}{'x' * 99}" for number in range(20)]
    found = counted(
        *(message(at, band=band) for at, band in enumerate(names)), passing={"A": (19,)}
    )
    assert len(found.seen) == MAX_BANDS + 1
    assert sum(found.seen.values()) == 20
    (line, *_) = found.lines([FilterCounts("A", seen=20, passed=1, final=True)])
    assert line.isprintable() and "other 12.5 %" in line


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        *(((0.1, 359.9, 0.0), (0.1, -0.1, 0.0)), ((10.0, 130.0, 250.0), (89.9, 89.9, 89.9))),
        *(((0.0, 120.0, 240.0), (-60.0, 0.0, 60.0)), ((5.0,), (-90.0,)), ((), ())),
        ((math.nan, 1e30, -math.inf), (0.0, 1e30, math.nan)),
    ],
)
def test_picture_anywhere(ra: tuple[float, ...], dec: tuple[float, ...]) -> None:
    found = PassRates(["A"], Schemas())
    found.seen.update(["g"])
    for at, place in enumerate(zip(ra, dec, strict=True)):
        found.alerts.extend((*place, (20.0, math.nan, 1e30)[at], 0, at % 2))
    with Image.open(io.BytesIO(chart(found, "what passes A $x^"))) as image:
        assert image.format == "PNG"
        assert image.size == (1200, 500)
