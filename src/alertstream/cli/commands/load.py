"""``alertstream load``."""

from __future__ import annotations

import os
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alertstream.cli.options.reading import ReadingOptions
from alertstream.cli.options.shared import (
    FormatOptions,
    WorkerOptions,
    option_group,
    topic_argument,
)
from alertstream.cli.terminal.output import DONE, as_json, notice, write_line, write_lines
from alertstream.errors import UsageError

if TYPE_CHECKING:
    import asyncio

    from alertstream.monitoring.load import Subscriber

_what_to_read = option_group("What to read")
_processes = option_group("Processes", allow_from_autoenv=False)
_output = option_group("Output")


@dataclass(frozen=True, kw_only=True)
class Load(ReadingOptions, WorkerOptions, FormatOptions):
    """Read topics as many subscribers at once, for a load test.

    Example: alertstream load localhost:9092 alerts --subscribers 50 --from latest
    """

    topics: list[str] = topic_argument(help="The topics, or patterns such as 'alerts-*'.")
    subscribers: int = _what_to_read(10, "How many read all of it at the same time.", "N", min=1)
    first: int = _what_to_read(1, "", hidden=True)
    workers: int = _processes(
        0, "Processes that they share; default: as many as there are processors.", "N", min=0
    )
    refresh: float = _output(1.0, "Seconds between refreshes.", "SECONDS", min=0.1)

    def run(self) -> int:
        """Read until the end, or a signal; write the account of each subscriber.

        :raises UsageError: they have a group, and so would share the topic.
        """
        from alertstream.cli.event_loop import run

        if self.group:
            what = "a load test's subscribers have no group: each reads all of the topic"
            raise UsageError(what, todo="leave out --group")
        run(self._read if self.worker else self._watch)
        return DONE

    async def _read(self, stop: asyncio.Event) -> None:
        """Read as this worker's subscribers, and report what each has read."""
        import asyncio

        from alertstream.cli.event_loop import stop_with_input
        from alertstream.monitoring.load import Subscriber, read_as

        stop_with_input(stop)
        connection, subscription = self.connection(), self.subscription(*self.topics)
        mine = [Subscriber(number) for number in range(self.first, self.first + self.subscribers)]

        def reader(each: Subscriber) -> Coroutine[Any, Any, None]:
            # What concerns all subscribers is reported once.
            said = notice if each.number == 1 else lambda text: None
            return read_as(each, connection, subscription, stop=stop, notice=said)

        reading = asyncio.gather(*map(reader, mine))
        while not reading.done():
            await asyncio.wait([reading], timeout=self.refresh)
            for each in mine:
                write_line(as_json(each.as_json()))
        await reading

    async def _watch(self, stop: asyncio.Event) -> None:
        """Have workers read, and show what they report, as it comes and at the end."""
        import asyncio

        from alertstream.cli.workers import reports_of, worker_command
        from alertstream.kafka.admin import require_topics
        from alertstream.monitoring.load import Subscriber, figures

        await require_topics(self.connection(), self.topics)
        known: dict[int, Subscriber] = {}
        commands, first = [], 1
        workers = min(self.workers or os.cpu_count() or 1, self.subscribers)
        for number in range(workers):
            share = (self.subscribers - first + 1) // (workers - number)
            more = ("--subscribers", str(share), "--first", str(first))
            commands.append(worker_command(*more))
            first += share

        def take(report: dict[str, Any]) -> None:
            each = Subscriber.from_json(report)
            known[each.number] = each

        async def show(*, final: bool = False) -> None:
            found = figures(known.values(), final=final)
            await write_lines([as_json(found)] if self.format == "json" else _lines(found), stop)

        reading = asyncio.ensure_future(reports_of(commands, stop, take))
        while not reading.done():
            await asyncio.wait([reading], timeout=self.refresh)
            if known and not reading.done():
                await show()
        await show(final=True)
        await reading


def _lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield figures as lines: at the end, one for each subscriber."""
    for each in found.get("each", ()):
        behind = f"  {each['behind']:,} behind" if each["behind"] else ""
        yield f"subscriber {each['subscriber']}: {_text(each)}{behind}"
    clock, slowest = time.strftime("%H:%M:%S", time.localtime(found["time"])), found["slowest"]
    text = f"{clock}  {found['subscribers']} subscribers: {_text(found)}"
    if slowest["behind"]:
        text += f"  slowest: {slowest['subscriber']}, {slowest['behind']:,} behind"
    yield text


def _text(found: dict[str, Any]) -> str:
    text = (
        f"{found['alerts']:,} alerts  {found['bytes'] / 1e6:,.1f} MB"
        f"  {found['alerts_per_second']:,.0f}/s  {found['megabytes_per_second']:,.1f} MB/s"
    )
    if latency := found["latency"]:
        text += f"  latency {latency['p50_ms']} ms median, {latency['p99_ms']} ms p99"
    return text
