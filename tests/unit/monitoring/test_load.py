"""What the subscribers of a load test have read, added up."""

from __future__ import annotations

import json

from alertstream.kafka.messages import Message
from alertstream.monitoring.load import Subscriber, figures


def messages(count: int, timestamp: int) -> list[Message]:
    return [Message("t", 0, number, timestamp, None, b"12345") for number in range(count)]


def test_figures_of_all_and_each() -> None:
    fast, slow, idle = (Subscriber(number, begin=100.0, last=100.0) for number in (2, 1, 3))
    # What was there before has no latency.
    fast.add(messages(30, 99_000), 102.0)
    fast.add(messages(10, 101_000), 110.0)
    slow.add(messages(10, 100_000), 105.0)
    reported = [
        Subscriber.from_json(json.loads(json.dumps(each.as_json()))) for each in (fast, slow)
    ]
    assert reported == [fast, slow]
    found = figures([*reported, idle], final=True)
    assert found.pop("time") > 0
    assert found.pop("each") == [
        {"subscriber": 1, "behind": 30} | slow.figures(),
        {"subscriber": 2, "behind": 0} | fast.figures(),
        {"subscriber": 3, "behind": 40} | idle.figures(),
    ]
    latency = {"p50_ms": 5000, "p95_ms": 9000, "p99_ms": 9000, "max_ms": 9000, "late": 0}
    assert found == {
        "subscribers": 3, "alerts": 50, "bytes": 250, "seconds": 10.0, "alerts_per_second": 5.0,
        "megabytes_per_second": 0.0, "latency": latency,
        "slowest": {"subscriber": 3, "behind": 40}, "final": True,
    }  # fmt: skip
    assert idle.figures()["alerts_per_second"] == 0.0
    assert idle.figures()["latency"] is None


def test_nobody_has_reported() -> None:
    assert figures([], final=True)["each"] == []
