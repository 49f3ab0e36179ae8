"""The metrics of each command, taken from what it counts anyway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from alertstream.monitoring.metrics import Figures

if TYPE_CHECKING:
    from alertstream.filtering.pipeline import FilterPipeline
    from alertstream.kafka.consumer import Consumer
    from alertstream.monitoring.watch import Watch
    from alertstream.printing.notifications.notifier import Notifier
    from alertstream.printing.printer import Printer
    from alertstream.reading.histogram import Histogram
    from alertstream.sending.delivery import SendAccount


def reading_figures(
    consumer: Consumer, undecodable: Mapping[str, int], latencies: Mapping[str, Histogram]
) -> Figures:
    """Return what a consumer has read, how far it is, and how late.

    :param undecodable: messages by topic; ``latencies`` are from Kafka's timestamp.
    """
    positions = consumer.positions
    figures: Figures = {
        "alerts": {(topic,): count for topic, count in positions.messages.items()},
        "bytes": {(topic,): count for topic, count in positions.bytes.items()},
        "undecodable": {(topic,): undecodable.get(topic, 0) for topic in positions.messages},
        "lag": {(at.topic, str(at.partition)): lag for at, lag in consumer.lags().items()},
        "latency_seconds": {(topic, "kafka"): each for topic, each in latencies.items()},
        "rebalances": {(): consumer.rebalances},
    }
    if consumer.subscription.group is not None:
        figures["last_commit_timestamp_seconds"] = {(): positions.last_commit}
    return figures


def filter_figures(pipeline: FilterPipeline) -> Figures:
    """Return what a filter has read and written."""
    writer, totals = pipeline.writer, pipeline.account.totals()
    figures = reading_figures(pipeline.consumer, pipeline.decoder.undecodable, writer.latencies)
    for name in ("passed", "rejected", "capped", "duplicate", "failed"):
        figures[name] = {(each.filter,): getattr(each, name) for each in totals}
    return figures | {"transaction_seconds": {(): writer.transactions}}


def printing_figures(command: str, reader: Printer | Notifier, consumer: Consumer) -> Figures:
    """Return what ``print`` or ``notify`` has read, and shown or sent."""
    account = reader.account
    return reading_figures(consumer, reader.decoder.undecodable, reader.latencies) | {
        "passed": {(command,): account.done},
        "rejected": {(command,): account.skipped},
        "failed": {(command,): account.failed},
    }


def monitor_figures(watch: Watch, consumer: Consumer) -> Figures:
    """Return what ``monitor`` has seen."""
    topics = watch.stats.items()
    figures = reading_figures(consumer, {name: each.undecodable for name, each in topics}, {})
    last = [(name, *[*each.visits.items()][-1]) for name, each in topics if each.visits]
    return figures | {
        "latency_seconds": {
            (name, clock): histogram
            for name, each in topics
            for clock, histogram in each.histograms.items()
        },
        "passed": {("monitor",): sum(each.alerts for _, each in topics)},
        "rejected": {("monitor",): sum(each.skipped for _, each in topics)},
        "failed": {("monitor",): sum(each.failed for _, each in topics)},
        "visit": {(name,): visit for name, visit, _ in last if visit is not None},
        "visit_alerts": {(name,): each.alerts for name, _, each in last},
        "visit_seconds": {(name,): each.seconds for name, _, each in last if not each.past},
        "group_lag": {
            (group, name): messages
            for group, of_group in watch.lags.items()
            for name, messages in of_group.items()
        },
    }


def send_figures(topic: str, account: SendAccount) -> Figures:
    """Return what ``send`` has sent to a topic."""
    total = account.total()
    figures: Figures = {
        "sent": {(topic,): total.acknowledged},
        "send_failed": {(topic,): total.failed},
        "bytes": {(topic,): total.bytes},
        "latency_seconds": {(topic, "schedule"): total.latencies},
        "visit_send_seconds": {(topic,): account.durations},
    }
    if (last := account.last) is not None:
        figures["visit_alerts"] = {(topic,): last.acknowledged}
        figures["visit_seconds"] = {(topic,): last.seconds}
        if last.visit.isdecimal():
            figures["visit"] = {(topic,): int(last.visit)}
    return figures
