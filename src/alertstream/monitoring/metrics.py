"""The metrics for Prometheus: one set for all commands (docs/metrics.md)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import accumulate
from operator import add
from types import SimpleNamespace
from typing import Any, Literal

from alertstream.reading.histogram import BOUNDS, Histogram

Values = Mapping[tuple[str, ...], Any]
"""Numbers, or histograms, by the values of their labels."""
Figures = dict[str, Values]
"""Values by the metric's name."""

MAX_SERIES = 500
"""Label values that a metric distinguishes; values of further ones are summed."""
MAX_HISTOGRAMS = 50
OTHERS = "(others)"
"""The label of that sum: no topic and no filter can have such a name."""
SILENCE_TIMEOUT = 15.0
"""Seconds without a report after which a worker counts as not ready."""
PREFIX = "alertstream_"


@dataclass(frozen=True)
class Metric:
    """A metric.

    :param merge: how the values of several processes are combined.
    """

    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    text: str
    merge: Callable[[Any, Any], Any] = add


_counter = partial(Metric, "counter")
_gauge = partial(Metric, "gauge")
_histogram = partial(Metric, "histogram")
_TOPIC, _FILTER = ("topic",), ("filter",)

METRICS = {
    "ready": _gauge((), "1 if /readyz says so, else 0", min),
    "alerts": _counter(_TOPIC, "messages read, whatever becomes of them"),
    "bytes": _counter(_TOPIC, "bytes of the messages read, or sent and acknowledged"),
    "undecodable": _counter(_TOPIC, "messages read that cannot be decoded"),
    "lag": _gauge(("topic", "partition"), "messages not committed yet; without a group, not read"),
    "last_commit_timestamp_seconds": _gauge((), "when the group's offsets were moved last", max),
    "rebalances": _counter((), "times that partitions were assigned, the first one included"),
    "latency_seconds": _histogram(
        ("topic", "clock"), "from when an alert began its way, by a clock, to what is done with it"
    ),
    "passed": _counter(_FILTER, "alerts that a filter passes and that are written"),
    "rejected": _counter(_FILTER, "alerts that a filter does not want"),
    "capped": _counter(_FILTER, "alerts that are beyond the cap of their visit"),
    "duplicate": _counter(_FILTER, "alerts whose source id has passed before"),
    "failed": _counter(_FILTER, "alerts on which a filter's code fails, or too large to write"),
    "transaction_seconds": _histogram((), "from the beginning of a transaction to its end"),
    "sent": _counter(_TOPIC, "alerts sent and acknowledged"),
    "send_failed": _counter(_TOPIC, "alerts that were not acknowledged"),
    "visit_send_seconds": _histogram(_TOPIC, "from a visit's beginning to its last alert sent"),
    "visit": _gauge(_TOPIC, "number of the latest visit", max),
    "visit_alerts": _gauge(_TOPIC, "alerts of the latest visit"),
    "visit_seconds": _gauge(_TOPIC, "from the latest visit's begin to its last alert", max),
    "group_lag": _gauge(("group", "topic"), "messages that a group has not committed yet"),
}
"""All of them, by name."""


def bounded(figures: Figures) -> Figures:
    """Return figures with at most as many label values as are distinguished."""
    found: Figures = {}
    for name, values in figures.items():
        metric = METRICS[name]
        most = MAX_HISTOGRAMS if metric.kind == "histogram" else MAX_SERIES
        told, rest = dict([*values.items()][:most]), [*values.values()][most:]
        if rest:
            told[(OTHERS,) * len(metric.labels)] = reduce(metric.merge, rest)
        found[name] = told
    return found


def text_of(figures: Figures) -> bytes:
    """Return figures in Prometheus' text format."""
    from prometheus_client import generate_latest

    return bytes(generate_latest(SimpleNamespace(collect=partial(_families, figures))))


def _families(figures: Figures) -> Iterator[Any]:
    """Yield all metrics that have values, as the library wants them."""
    from prometheus_client import core

    kinds = {
        "counter": core.CounterMetricFamily,
        "gauge": core.GaugeMetricFamily,
        "histogram": core.HistogramMetricFamily,
    }
    for name, values in bounded({name: each for name, each in figures.items() if each}).items():
        metric = METRICS[name]
        family = kinds[metric.kind](f"{PREFIX}{name}", metric.text, labels=metric.labels)
        for labels, value in values.items():
            if isinstance(value, Histogram):
                bounds = [*map(str, BOUNDS), "+Inf"]
                buckets = [*zip(bounds, accumulate(value.counts), strict=True)]
                family.add_metric(labels, buckets, value.sum)
            else:
                family.add_metric(labels, value)
        yield family


def as_json(figures: Figures) -> dict[str, Any]:
    """Return figures as JSON has them."""
    return {
        name: [
            [labels, [each.counts, each.sum] if isinstance(each, Histogram) else each]
            for labels, each in values.items()
        ]
        for name, values in bounded(figures).items()
    }


def from_json(told: dict[str, Any]) -> Figures:
    """Return the figures that :func:`as_json` gave."""
    return {
        name: {
            tuple(labels): Histogram(*each) if isinstance(each, list) else each
            for labels, each in values
        }
        for name, values in told.items()
    }


def merged(figures: Sequence[Figures]) -> Figures:
    """Return the figures of several processes as those of one."""
    found: dict[str, dict[tuple[str, ...], Any]] = {}
    for each in figures:
        for name, values in each.items():
            mine, merge = found.setdefault(name, {}), METRICS[name].merge
            for labels, value in values.items():
                mine[labels] = merge(mine[labels], value) if labels in mine else value
    return dict(found)


@dataclass
class WorkersFigures:
    """The figures of several processes, each of which may be started again.

    :param now: the time in seconds, by a clock that is never set back.
    """

    workers: int
    now: Callable[[], float] = time.monotonic
    _ended: list[Figures] = field(default_factory=list)
    _told: dict[int, tuple[float, Figures, str]] = field(default_factory=dict)

    def take(self, number: int, figures: Figures, unready: str) -> None:
        """Take a process's report."""
        self._told[number] = self.now(), figures, unready

    def ended(self, number: int) -> None:
        """Keep the counts of a process that has ended, as its successor counts from 0."""
        if number in self._told:
            _, figures, _ = self._told.pop(number)
            kept = {name: each for name, each in figures.items() if METRICS[name].kind != "gauge"}
            self._ended = [merged([*self._ended, kept])]

    def figures(self) -> Figures:
        """Return the sum of all."""
        return merged([*self._ended, *(figures for _, figures, _ in self._told.values())])

    def unready(self) -> str:
        """Return why one of them is not ready; empty if all are."""
        for number in range(1, self.workers + 1):
            at, _, unready = self._told.get(number, (0.0, {}, "has not begun yet"))
            if not unready and self.now() - at > SILENCE_TIMEOUT:
                unready = f"has said nothing for {self.now() - at:.0f} s"
            if unready:
                return f"worker {number}: {unready}"
        return ""
