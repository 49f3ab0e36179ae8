"""The account of a visit: one type for people and for programs."""

from __future__ import annotations

from alertstream.errors import DataError
from alertstream.sending.delivery import VisitSent


def test_line_and_json() -> None:
    sent = VisitSent("42", "42.avro", 10, 8, 2, 1, bytes=2_000_000, seconds=0.5)
    assert (
        sent.as_line() == "8 of 10 alerts acknowledged, 2 failed, 1 late, 2.0 MB in 0.50 s (16/s)"
    )
    assert sent.as_json() == {
        "visit": "42", "file": "42.avro", "alerts": 8, "bytes": 2_000_000, "seconds": 0.5,
        "alerts_per_second": 16.0, "planned": 10, "acknowledged": 8, "failed": 2, "late": 1,
    }  # fmt: skip
    assert VisitSent.from_json(sent.as_report()) == sent


def test_nothing_sent() -> None:
    assert VisitSent().as_line() == "0 of 0 alerts acknowledged, 0.0 MB in 0.00 s (0/s)"


def test_sum_keeps_the_first_error() -> None:
    first, second = DataError("first"), DataError("second")
    total = VisitSent()
    for error in (None, first, second):
        total.add(VisitSent("x", "x.avro", 3, 2, 1, 0, 100, 0.25, error))
    assert total == VisitSent("", "", 9, 6, 3, 0, 300, 0.75, first)
