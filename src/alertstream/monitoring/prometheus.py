"""The monitor's figures for Prometheus, at ``http://ADDRESS:PORT/metrics`` (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from alertstream.errors import UsageError
from alertstream.monitoring.stats import PERCENTILES
from alertstream.system.extras import extra

TOPIC_METRICS = {
    "alerts": "alerts received",
    "bytes": "bytes of all messages received",
    "undecodable": "messages received that cannot be decoded",
    "failed": "alerts received on which a filter's code raised an error",
    "alerts_per_second": "alerts a second over the last ten seconds",
}
COUNTERS = ("alerts", "bytes", "undecodable", "failed")
VISIT_METRICS = {
    "alerts": ("visit_alerts", "alerts of the last visit"),
    "seconds": ("visit_seconds", "from the last visit's first produce to its last alert received"),
    "late": ("visit_late_alerts", "alerts of the last visit that took more than 60 s"),
}
LATENCIES = {
    "latency_from_shutter": ("visit_latency_from_shutter_seconds", "the end of the exposure"),
    "latency_from_producer": ("visit_latency_from_producer_seconds", "the header of the producer"),
}

Samples = list[tuple[list[str], float]]
"""Values, each with those of its labels."""


def _metrics(figures: dict[str, Any]) -> Iterator[tuple[str, str, list[str], Samples]]:
    """Yield each metric's name, meaning, labels and samples."""
    topics: dict[str, Any] = figures.get("topics", {})
    for name, text in TOPIC_METRICS.items():
        yield name, text, ["topic"], [([topic], stats[name]) for topic, stats in topics.items()]
    visits = {topic: stats["visits"] for topic, stats in topics.items() if stats["visits"]}
    last = [(topic, *list(of_topic.items())[-1]) for topic, of_topic in visits.items()]
    numbers: Samples = [([topic], int(visit)) for topic, visit, _ in last if visit.isdecimal()]
    yield "visit", "number of the last visit", ["topic"], numbers
    for name, (called, text) in VISIT_METRICS.items():
        known = [(topic, stats[name]) for topic, _, stats in last if stats[name] is not None]
        yield called, text, ["topic"], [([topic], value) for topic, value in known]
    flat = [
        (topic, {name: stats[f"latency_{name}"] for name in PERCENTILES})
        for topic, _, stats in last
        if stats["latency_max_ms"] is not None
    ]
    text = "from produce to here, of the last visit's alerts"
    yield "visit_latency_seconds", text, ["topic", "quantile"], _quantiles(flat)
    for name, (called, start) in LATENCIES.items():
        found = [(topic, stats[name]) for topic, _, stats in last if stats[name]]
        text = f"from {start} to here, of the last visit's alerts"
        yield called, text, ["topic", "quantile"], _quantiles(found)
    text = "alerts of the last visit that came more than 60 s after its exposure"
    late: Samples = [
        ([topic], stats["latency_from_shutter"]["late"])
        for topic, _, stats in last
        if stats["latency_from_shutter"]
    ]
    yield "visit_late_from_shutter_alerts", text, ["topic"], late
    lags: Samples = [
        ([group, topic], messages)
        for group, of_group in figures.get("groups", {}).items()
        for topic, messages in of_group.items()
    ]
    yield "group_lag", "messages that a group has not committed yet", ["group", "topic"], lags
    yield "connected", "1 if Kafka can be reached", [], [([], int(figures.get("connected", True)))]


def _quantiles(found: Iterable[tuple[str, dict[str, int | None]]]) -> Samples:
    """Return each topic's percentiles, in seconds."""
    return [
        ([topic, f"{share:g}"], (latencies[name] or 0) / 1000)
        for topic, latencies in found
        for name, share in PERCENTILES.items()
    ]


class _Collector:
    """Turns the last figures into metrics whenever they are asked for."""

    def __init__(self, figures: Callable[[], dict[str, Any]]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Any]:
        """Yield all metrics."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for name, text, labels, samples in _metrics(self._figures()):
            family = CounterMetricFamily if name in COUNTERS else GaugeMetricFamily
            metric = family(f"alertstream_{name}", text, labels=labels)
            for values, value in samples:
                metric.add_metric(values, value)
            yield metric


@contextmanager
def metrics_server(
    port: int, address: str, figures: Callable[[], dict[str, Any]]
) -> Iterator[None]:
    """Serve the figures for as long as the context lasts.

    :param figures: returns the last ones; it is called by another thread.
    :raises UsageError: prometheus-client is not installed, or the port is taken.
    """
    with extra("metrics", "metrics"):
        from prometheus_client import CollectorRegistry, start_http_server
    registry = CollectorRegistry()
    registry.register(_Collector(figures))
    try:
        server, _ = start_http_server(port, address, registry)
    except OSError as error:
        raise UsageError(
            f"metrics cannot be served ({error.strerror})",
            where=f"{address}:{port}",
            todo="choose another --metrics-port",
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
