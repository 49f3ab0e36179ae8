"""What is counted, as Prometheus' own parser reads it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.hostile_text import COMMANDS

from alertstream.monitoring.metrics import (
    MAX_HISTOGRAMS,
    MAX_SERIES,
    METRICS,
    OTHERS,
    WorkersFigures,
    as_json,
    from_json,
    merged,
    text_of,
)
from alertstream.reading.histogram import BOUNDS, Histogram

ROOT = Path(__file__).parents[3]


def histogram(*seconds: float) -> Histogram:
    found = Histogram()
    for each in seconds:
        found.add(each)
    return found


def lines(figures: dict) -> set[str]:
    return {*text_of(figures).decode().splitlines()}


def test_they_are_those_of_the_documentation() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `alertstream_(\w+)` \| (\w+) \| ([\w, ]*) ?\|", page, re.MULTILINE)
    documented = {
        name.removesuffix("_total") if kind == "counter" else name: (kind, labels.strip())
        for name, kind, labels in rows
    }
    assert documented == {
        name: (each.kind, ", ".join(each.labels)) for name, each in METRICS.items()
    }
    assert all(name.endswith("_total") for name, kind, _ in rows if kind == "counter")


def test_text() -> None:
    told = lines(
        {
            "ready": {(): 1},
            "alerts": {("busy",): 7},
            "lag": {("busy", "3"): 5},
            "latency_seconds": {("busy", "kafka"): histogram(0.2, 60.0, 61.0, 1e6)},
        }
    )
    labels = '{clock="kafka",le="%s",topic="busy"}'
    assert {
        "alertstream_ready 1.0",
        'alertstream_alerts_total{topic="busy"} 7.0',
        'alertstream_lag{partition="3",topic="busy"} 5.0',
        f"alertstream_latency_seconds_bucket{labels % '0.25'} 1.0",
        f"alertstream_latency_seconds_bucket{labels % '60.0'} 2.0",
        f"alertstream_latency_seconds_bucket{labels % '3600.0'} 3.0",
        f"alertstream_latency_seconds_bucket{labels % '+Inf'} 4.0",
        'alertstream_latency_seconds_count{clock="kafka",topic="busy"} 4.0',
    } <= told


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 1e300])
def test_times_that_are_none_are_not_counted(odd: float) -> None:
    assert histogram(odd) == Histogram()
    assert histogram(-1e9) == histogram(0.0)
    assert sum(histogram(*BOUNDS).counts) == len(BOUNDS)


@pytest.mark.hostile("12: names of topics and groups that forge metrics")
def test_names_forge_no_metrics() -> None:
    name = f'x"}} 1\nalertstream_ready 0\n\\{COMMANDS}'
    told = text_of({"ready": {(): 1}, "alerts": {(name,): 1}, "group_lag": {(name, name): 5}})
    families = [*text_string_to_metric_families(told.decode())]
    labels = [sample.labels for family in families for sample in family.samples]
    assert {each.get("topic", name) for each in labels} == {name}
    (ready,) = [each for each in families if each.name == "alertstream_ready"]
    assert [sample.value for sample in ready.samples] == [1.0]


@pytest.mark.hostile("12: any number of topics")
def test_of_too_many_the_rest_is_summed_up() -> None:
    count = 2 * MAX_SERIES
    told = lines(
        {
            "alerts": {(str(number),): 1 for number in range(count)},
            "latency_seconds": {(str(number), "kafka"): histogram(1.0) for number in range(count)},
        }
    )
    assert sum(line.startswith("alertstream_alerts_total{") for line in told) == MAX_SERIES + 1
    assert f'alertstream_alerts_total{{topic="{OTHERS}"}} {count - MAX_SERIES:.1f}' in told
    assert sum("_seconds_count{" in line for line in told) == MAX_HISTOGRAMS + 1


def test_workers_together() -> None:
    now = 0.0
    told = WorkersFigures(2, lambda: now)
    assert told.unready() == "worker 1: has not begun yet"
    one = {"alerts": {("t",): 5}, "lag": {("t", "0"): 1}, "ready": {(): 1}}
    two = {"alerts": {("t",): 7}, "lag": {("t", "1"): 2}, "ready": {(): 0}}
    told.take(1, one | {"transaction_seconds": {(): histogram(1.0)}}, "")
    told.take(2, two | {"transaction_seconds": {(): histogram(2.0)}}, "")
    assert told.unready() == ""
    assert told.figures() == {
        "alerts": {("t",): 12},
        "lag": {("t", "0"): 1, ("t", "1"): 2},
        "ready": {(): 0},
        "transaction_seconds": {(): histogram(1.0, 2.0)},
    }
    # Started again, a worker counts from 0, and what it had counted stays.
    told.ended(1)
    assert told.unready() == "worker 1: has not begun yet"
    assert told.figures()["lag"] == {("t", "1"): 2}
    told.take(1, {"alerts": {("t",): 1}}, "no connection to Kafka")
    assert told.figures()["alerts"] == {("t",): 13}
    assert told.unready() == "worker 1: no connection to Kafka"
    told.take(1, {"alerts": {("t",): 1}}, "")
    now = 20.0
    assert told.unready() == "worker 1: has said nothing for 20 s"


def test_what_workers_tell_is_json() -> None:
    figures = {"alerts": {("t",): 5}, "latency_seconds": {("t", "kafka"): histogram(0.1, 7.0)}}
    again = from_json(json.loads(json.dumps(as_json(figures))))
    assert again == figures
    assert merged([figures, again])["latency_seconds"][("t", "kafka")] == histogram(0.1, 0.1, 7, 7)
