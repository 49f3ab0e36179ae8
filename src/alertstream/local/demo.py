"""Everything together on this machine: a Kafka, simulated visits, filters, a monitor, and a print.

The summary adds up: the monitor and each filter have seen all alerts that were sent, and each
filter's topic has as many as passed it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alertstream.alert.text import Look
from alertstream.avro.schemas import Schemas
from alertstream.errors import DeliveryError, info
from alertstream.filtering.account import FilterAccount, FilterCounts
from alertstream.filtering.filters import AlertFilter, choose_filters, group_name
from alertstream.filtering.pipeline import FilterOptions, open_pipeline
from alertstream.kafka.admin import make_topics
from alertstream.kafka.connection import POLL_INTERVAL, Connection
from alertstream.kafka.consumer import subscribe
from alertstream.kafka.producer import producer
from alertstream.kafka.subscription import Subscription
from alertstream.kafka.topics import TopicLayout
from alertstream.local.broker.cluster import BrokerOptions, local_broker
from alertstream.local.broker.java import Progress
from alertstream.local.simulate.files import SimulateOptions, simulate
from alertstream.monitoring.watch import Watch, watch_stream
from alertstream.printing.printer import Printer, PrintOptions
from alertstream.sending.delivery import VisitSent
from alertstream.sending.sender import SendOptions, send
from alertstream.sending.visits.encoders import message_encoders
from alertstream.sending.visits.schedule import Cadence, Clock, bursts, files_of, visits_in
from alertstream.system.cancellation import Interrupted

TOPIC = "alerts-simulated"
SCHEMA_ID = 1000
CADENCE = Cadence(4.0, align=False)
MAX_PRINTED = 5
"""Alerts of the first filter that are printed."""
CATCH_UP_TIMEOUT = 30.0
"""Seconds that filters and monitor get after the last visit."""


@dataclass
class DemoSummary:
    """What was sent, seen, passed and printed, by topic."""

    sent: VisitSent
    monitored: dict[str, Any]
    filtered: list[FilterCounts]
    printed: dict[str, int]

    def check(self) -> None:
        """Compare all counts.

        :raises DeliveryError: they do not add up.
        """
        sent, topics = self.sent.acknowledged, self.monitored["topics"]
        if self.sent.planned != sent or topics[TOPIC]["alerts"] != sent:
            raise DeliveryError(f"{sent} alerts were sent, {topics[TOPIC]['alerts']} seen")
        for counts in self.filtered:
            printed, seen = self.printed[counts.filter], topics[counts.filter]["alerts"]
            if counts.seen != sent or not counts.passed == printed == seen:
                raise DeliveryError(
                    f"{counts.filter} has passed {counts.passed} of {counts.seen} alerts, but "
                    f"{seen} were seen in its topic and {printed} printed"
                )


async def demo(
    visits: int,
    alerts: int,
    *,
    stop: asyncio.Event,
    look: Look,
    write: Callable[[str], None],
    notice: Callable[[str], None],
    fetching: Progress,
    simulating: Callable[[int, int], None],
) -> DemoSummary:
    """Run the demonstration with so many visits of so many alerts, and clean up.

    :param stop: ends it early; the counts are then of what was sent until then.
    :param write: called with each line of the alerts that are printed.
    :param notice: called with a line on what is being done.
    :param fetching, simulating: called with the progress of slow steps.
    :raises AlertStreamError: a part of it fails, or the counts do not add up.
    :raises Interrupted: it is stopped before anything was sent.
    """

    def progress(done: int, size: int) -> None:
        simulating(done, size)
        if stop.is_set():
            raise Interrupted

    notice(info("starting a local Kafka"))
    broker = local_broker(BrokerOptions(port=0), notice=notice, progress=fetching)
    with tempfile.TemporaryDirectory(prefix="alertstream-demo-") as name:
        folder, schemas, filters = Path(name), Schemas(), choose_filters(["1-3"])
        async with broker as running:
            notice(info(f"simulating {visits} visits of {alerts} alerts"))
            wanted = SimulateOptions(folder, visits, alerts, history=(0, 20))
            await asyncio.to_thread(simulate, wanted, schemas.by_id(SCHEMA_ID), progress)
            if stop.is_set():
                raise Interrupted
            connection = Connection(running.bootstrap)
            summary = await _run(connection, schemas, filters, folder, notice, stop)
            for number, each in enumerate(filters):
                lines, printed = await _printed(each.topic, connection, schemas, look)
                summary.printed[each.topic] = printed
                for line in lines[: MAX_PRINTED + 1] if number == 0 else ():
                    write(line)
    summary.check()
    return summary


async def _run(
    connection: Connection,
    schemas: Schemas,
    filters: Sequence[AlertFilter],
    folder: Path,
    notice: Callable[[str], None],
    stop: asyncio.Event,
) -> DemoSummary:
    """Send the visits of a folder, while filters and a monitor read them."""
    options, done, clock = FilterOptions(filters), asyncio.Event(), Clock()
    made = await make_topics(connection, [TOPIC, *options.topics], TopicLayout())
    watch = Watch((TOPIC, *options.topics))
    group = Subscription((TOPIC,), group_name(TOPIC))
    async with (
        producer(connection) as sending,
        subscribe(connection, Subscription(watch.topics)) as watched,
        open_pipeline(connection, group, options, schemas, stop=done, notice=notice) as pipeline,
    ):
        filtering = asyncio.create_task(pipeline.run())
        monitoring = asyncio.create_task(watch_stream(watched, schemas, watch, stop=done))
        try:
            visits = visits_in([folder])
            sent = await send(
                sending,
                SendOptions(made[TOPIC], CADENCE.interval),
                await message_encoders(files_of(visits), schemas),
                bursts(visits, CADENCE, clock, stop),
                clock=clock,
                stop=stop,
                report=lambda visit: notice(f"visit {visit.visit}: {visit.as_line()}"),
            )
            await _until_seen(sent, pipeline.account, watch)
        finally:
            done.set()
            await asyncio.wait((filtering, monitoring))
    return DemoSummary(sent, monitoring.result(), filtering.result(), {})


async def _until_seen(sent: VisitSent, filtered: FilterAccount, watch: Watch) -> None:
    """Return when filters and monitor have seen all alerts, or after ``CATCH_UP_TIMEOUT``."""
    for _ in range(int(CATCH_UP_TIMEOUT / POLL_INTERVAL)):
        seen = sum(stats.alerts for stats in watch.stats.values())
        totals = filtered.totals()
        passed = sum(each.passed for each in totals)
        if totals[0].seen >= sent.acknowledged <= seen - passed:
            return
        await asyncio.sleep(POLL_INTERVAL)


async def _printed(
    topic: str, connection: Connection, schemas: Schemas, look: Look
) -> tuple[list[str], int]:
    """Return a topic's alerts as lines, and how many they are."""
    lines: list[str] = []

    async def keep(more: list[str], stop: asyncio.Event) -> None:
        lines.extend(more)

    printer = Printer(schemas, PrintOptions(look=look), keep)
    async with subscribe(connection, Subscription((topic,), exit_on_eof=True)) as stream:
        account = await printer.run(stream, asyncio.Event())
    return lines, account.done
