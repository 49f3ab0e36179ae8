"""The monitor's figures for Prometheus, at ``http://ADDRESS:PORT/metrics`` (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from alertstream.errors import UsageError

PREFIX = "alertstream"
TOPIC_METRICS = {
    "alerts": ("counter", "alerts received"),
    "bytes": ("counter", "bytes of all messages received"),
    "undecodable": ("counter", "messages received that cannot be decoded"),
    "alerts_per_second": ("gauge", "alerts a second over the last ten seconds"),
}
"""By the name of the figure: kind and meaning."""
VISIT_METRICS = {
    "alerts": ("visit_alerts", "alerts of the last visit"),
    "seconds": ("visit_seconds", "from the last visit's first produce to its last alert received"),
    "late": ("visit_late_alerts", "alerts of the last visit that took more than 60 s"),
}
QUANTILES = {"latency_p50_ms": "0.5", "latency_p99_ms": "0.99", "latency_max_ms": "1"}


class _Collector:
    """Turns the last figures into metrics whenever they are asked for."""

    def __init__(self, figures: Callable[[], dict[str, Any]]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Any]:
        """Yield all metrics."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        figures = self._figures()
        topics: dict[str, Any] = figures.get("topics", {})
        for name, (kind, text) in TOPIC_METRICS.items():
            family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            metric = family(f"{PREFIX}_{name}", text, labels=["topic"])
            for topic, stats in topics.items():
                metric.add_metric([topic], stats[name])
            yield metric
        last = {
            topic: list(stats["visits"].items())[-1]
            for topic, stats in topics.items()
            if stats["visits"]
        }
        visit = GaugeMetricFamily(f"{PREFIX}_visit", "number of the last visit", labels=["topic"])
        for topic, (number, _) in last.items():
            if number.isdecimal():
                visit.add_metric([topic], int(number))
        yield visit
        for name, (called, text) in VISIT_METRICS.items():
            metric = GaugeMetricFamily(f"{PREFIX}_{called}", text, labels=["topic"])
            for topic, (_, stats) in last.items():
                metric.add_metric([topic], stats[name] or 0)
            yield metric
        latency = GaugeMetricFamily(
            f"{PREFIX}_visit_latency_seconds",
            "from produce to here, of the last visit's alerts",
            labels=["topic", "quantile"],
        )
        for topic, (_, stats) in last.items():
            for name, quantile in QUANTILES.items():
                latency.add_metric([topic, quantile], (stats[name] or 0) / 1000)
        yield latency
        lag = GaugeMetricFamily(
            f"{PREFIX}_group_lag",
            "messages that a group has not committed yet",
            labels=["group", "topic"],
        )
        for group, lags in figures.get("groups", {}).items():
            for topic, messages in lags.items():
                lag.add_metric([group, topic], messages)
        yield lag
        yield GaugeMetricFamily(
            f"{PREFIX}_connected", "1 if Kafka can be reached", int(figures.get("connected", True))
        )


@contextmanager
def metrics_server(
    port: int, address: str, figures: Callable[[], dict[str, Any]]
) -> Iterator[None]:
    """Serve the figures for as long as the context lasts.

    :param figures: returns the last ones; it is called by another thread.
    :raises UsageError: prometheus-client is not installed, or the port is taken.
    """
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError as error:
        raise UsageError(
            "metrics need prometheus-client", todo="pip install 'alertstream[metrics]'"
        ) from error
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
