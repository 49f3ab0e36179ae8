"""Everything together on this machine: a Kafka, simulated visits, filters, a monitor, and a print.

Its summary adds up: as many alerts were sent as the monitor and each filter have seen, and as many
came out of each filter's topic as it let through.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alertstream.alert.text import PLAIN, Look
from alertstream.avro.schemas import Schemas, version_id
from alertstream.errors import DeliveryError
from alertstream.filtering.account import FilterCounts
from alertstream.filtering.engine import FilterOptions, Sieve
from alertstream.filtering.filters import AlertFilter, group_name
from alertstream.filtering.pipeline import filter_topics
from alertstream.kafka import producer as kafka
from alertstream.kafka.admin import make_topics
from alertstream.kafka.connection import POLL_INTERVAL, Connection
from alertstream.kafka.consumer import subscribe
from alertstream.kafka.subscription import Subscription
from alertstream.kafka.topics import TopicLayout
from alertstream.local.broker.cluster import BrokerOptions, local_broker
from alertstream.local.broker.jars import Progress
from alertstream.local.simulate.files import SimulateOptions, simulate
from alertstream.monitoring.watch import Watch, watch_stream
from alertstream.printing.printer import Printer, PrintOptions, print_stream
from alertstream.sending.encoders import message_encoders
from alertstream.sending.schedule import Cadence, VisitFiles, WallClock, bursts, files_of, visits_in
from alertstream.sending.sender import SendOptions, VisitSent, send, visit_line

TOPIC = "alerts-simulated"
SCHEMA = "10.0"
SHOWN = 5
"""Alerts of the first filter that are printed."""
PATIENCE = 30.0
"""Seconds that filters and monitor get after the last visit."""


@dataclass(frozen=True)
class DemoOptions:
    """How much to do: ``visits`` of ``alerts`` each."""

    filters: Sequence[AlertFilter]
    visits: int = 3
    alerts: int = 200
    cadence: Cadence = Cadence(4.0, align=False)
    look: Look = PLAIN


@dataclass
class DemoSummary:
    """What was sent, seen, passed and printed, by topic."""

    sent: VisitSent
    monitored: dict[str, Any]
    filtered: list[FilterCounts]
    printed: dict[str, int]
    topic: str = TOPIC

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
                    f"{counts.filter} has passed {counts.passed} of {counts.seen} alerts, "
                    f"{seen} were seen and {printed} printed of its topic"
                )


async def demo(
    options: DemoOptions,
    *,
    stop: asyncio.Event,
    write: Callable[[str], None],
    notice: Callable[[str], None],
    fetching: Progress = lambda done, total, name: None,
    simulating: Callable[[int, int], None] = lambda visit, done: None,
) -> DemoSummary:
    """Run the demonstration to its end; nothing is left of it.

    :param stop: ends it early; the counts then are of what was sent until then.
    :param write: takes the lines of the alerts that are printed.
    :param notice: takes a line on what is being done.
    :param fetching: told how much of Kafka has been fetched, and ``simulating`` of the visits.
    :raises AlertStreamError: a part of it fails, or the counts do not add up.
    """
    notice("starting a local Kafka")
    broker = local_broker(BrokerOptions(port=0), notice=notice, progress=fetching)
    with tempfile.TemporaryDirectory(prefix="alertstream-demo-") as folder:
        async with broker as running:
            notice(f"simulating {options.visits} visits of {options.alerts} alerts")
            simulation = SimulateOptions(
                Path(folder), options.visits, options.alerts, history=(0, 20)
            )
            schemas = Schemas()
            schema = schemas.by_id(version_id(f"lsst.v{SCHEMA.replace('.', '_')}.alert") or 0)
            await asyncio.to_thread(simulate, simulation, schema, simulating)
            connection = Connection(running.bootstrap)
            visits = visits_in([Path(folder)])
            filters = FilterOptions(options.filters)
            stage = _Stage(
                connection,
                visits,
                options.cadence,
                filters,
                schemas,
                PrintOptions(look=options.look),
            )
            summary = await stage.run(stop, write, notice)
    summary.check()
    return summary


@dataclass
class _Stage:
    """Who takes part, on a Kafka that runs."""

    connection: Connection
    visits: Sequence[VisitFiles]
    cadence: Cadence
    filters: FilterOptions
    schemas: Schemas
    printed: PrintOptions

    async def run(
        self, stop: asyncio.Event, write: Callable[[str], None], notice: Callable[[str], None]
    ) -> DemoSummary:
        outputs = [each.topic for each in self.filters.filters]
        made = await make_topics(self.connection, [TOPIC, *outputs], TopicLayout())
        clock = WallClock()
        watch = Watch((TOPIC, *outputs), clock)
        sieve = Sieve(self.filters, self.schemas, clock, notice)
        async with (
            kafka.producer(self.connection) as sending,
            subscribe(self.connection, Subscription(watch.topics)) as watched,
        ):
            done = asyncio.Event()
            group = Subscription((TOPIC,), group_name(self.filters.filters))
            filtering = asyncio.create_task(filter_topics(self.connection, group, sieve, stop=done))
            monitoring = asyncio.create_task(watch_stream(watched, self.schemas, watch, stop=done))
            sent = await send(
                sending,
                SendOptions(made[TOPIC], self.cadence.interval),
                message_encoders(files_of(self.visits), self.schemas),
                bursts(self.visits, self.cadence, clock, stop),
                clock=clock,
                stop=stop,
                report=lambda visit: notice(f"visit {visit.visit}: {visit_line(visit)}"),
            )
            await _until_seen(sent, sieve, watch)
            done.set()
            filtered, monitored = await filtering, await monitoring
        printed = {topic: await self._print(topic, write) for topic in outputs}
        return DemoSummary(sent, monitored, filtered, printed)

    async def _print(self, topic: str, write: Callable[[str], None]) -> int:
        """Print a topic, the first alerts of the first filter only; return how many it has."""
        first = topic == self.filters.filters[0].topic
        lines: list[str] = []

        async def keep(more: list[str]) -> None:
            lines.extend(more)

        subscription = Subscription((topic,), exit_on_eof=True)
        async with subscribe(self.connection, subscription) as stream:
            printer = Printer(self.schemas, self.printed, keep)
            account = await print_stream(stream, printer, stop=asyncio.Event())
        for line in lines[: SHOWN + 1] if first else ():
            write(line)
        return account.printed


async def _until_seen(sent: VisitSent, sieve: Sieve, watch: Watch) -> None:
    """Return when filters and monitor have seen all alerts, or have had time enough to."""
    for _ in range(int(PATIENCE / POLL_INTERVAL)):
        watched = sum(stats.alerts for stats in watch.stats.values())
        if sieve.account.seen >= sent.acknowledged and (
            watched >= sent.acknowledged + sieve.account.passed
        ):
            return
        await asyncio.sleep(POLL_INTERVAL)
