"""The monitor's figures as metrics."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.hostile_text import COMMANDS

from alertstream.monitoring.prometheus import _Collector
from alertstream.monitoring.stats import Times, TopicStats


def test_metrics_of_the_last_figures() -> None:
    busy, quiet = TopicStats(), TopicStats()
    busy.add(7, 100, Times(1_000), received=2.5)
    busy.add(8, 50, Times(2_000, 1_900, -60_000), received=2.5)
    quiet.add_undecodable(3)
    figures = {
        "topics": {"busy": busy.snapshot(3.0), "quiet": quiet.snapshot(3.0)},
        "groups": {"group": {"busy": 5}},
        "connected": False,
    }
    registry = CollectorRegistry()
    registry.register(_Collector(lambda: figures))
    lines = generate_latest(registry).decode().splitlines()
    assert {
        'alertstream_alerts_total{topic="busy"} 2.0',
        'alertstream_bytes_total{topic="busy"} 150.0',
        'alertstream_undecodable_total{topic="quiet"} 1.0',
        'alertstream_visit{topic="busy"} 8.0',
        'alertstream_visit_latency_seconds{quantile="1",topic="busy"} 0.5',
        'alertstream_visit_latency_from_producer_seconds{quantile="0.95",topic="busy"} 0.6',
        'alertstream_visit_latency_from_shutter_seconds{quantile="0.5",topic="busy"} 62.5',
        'alertstream_visit_late_from_shutter_alerts{topic="busy"} 1.0',
        'alertstream_group_lag{group="group",topic="busy"} 5.0',
        "alertstream_connected 0.0",
    } <= {*lines}
    assert not any("visit" in line and "quiet" in line for line in lines)


@pytest.mark.hostile("12: names of topics and groups that forge metrics")
def test_names_forge_no_metrics() -> None:
    name = f'x"}} 1\nalertstream_connected 0\n\\{COMMANDS}'
    stats = TopicStats()
    stats.add(7, 100, Times(1_000), received=2.5)
    figures = {"topics": {name: stats.snapshot(3.0)}, "groups": {name: {name: 5}}}
    registry = CollectorRegistry()
    registry.register(_Collector(lambda: figures))
    families = [*text_string_to_metric_families(generate_latest(registry).decode())]
    labels = [sample.labels for family in families for sample in family.samples]
    assert {each.get("topic", name) for each in labels} == {name}
    (connected,) = [each for each in families if each.name == "alertstream_connected"]
    assert [sample.value for sample in connected.samples] == [1.0]


def test_before_the_first_figures_kafka_counts_as_connected() -> None:
    registry = CollectorRegistry()
    registry.register(_Collector(dict))
    lines = generate_latest(registry).decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["alertstream_connected 1.0"]
