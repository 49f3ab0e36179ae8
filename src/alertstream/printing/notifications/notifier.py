"""Notifies of a topic's alerts: select, bundle, send, and only then commit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Protocol

from alertstream.avro.schemas import Schemas
from alertstream.errors import Notice, UndecodableError
from alertstream.filtering.selection import SelectingDecoder, Selection
from alertstream.kafka.consumer import Consumer
from alertstream.kafka.messages import Message as KafkaMessage
from alertstream.kafka.messages import Offsets, next_offsets
from alertstream.printing.account import ReadingAccount
from alertstream.printing.lines import LineFormat
from alertstream.printing.notifications.bundling import Bundler
from alertstream.printing.notifications.command import Command
from alertstream.printing.notifications.message import Composer, Message
from alertstream.reading.decoder import ReceivedAlert, ReportedOnce, Undecodable, decodable
from alertstream.reading.histogram import TopicLatencies
from alertstream.system.cancellation import in_thread, stopped_within, unless_stopped

SEND_TIMEOUT = 60.0
"""Seconds that a service may take for a message."""
FIRST_PAUSE, MAX_PAUSE = 0.5, 60.0
"""Seconds before trying again; each pause is twice the one before."""
PLAIN_AFTER = 4
"""Refusals of a message after which it is sent without its picture."""
MAX_TRIES = 5
"""Times that a command is run for an alert that it does not accept."""

Places = dict[tuple[str, int], tuple[int, int]]
"""Offset and timestamp of a message in each partition of topics."""


class Destination(Protocol):
    """Where messages go."""

    label: str

    def send(self, message: Message) -> str | None:
        """Send a message, which may take long; return why it was not accepted, or None."""


class Notifier:
    """Sends alerts, several together, in messages to ``destinations``, or each to a command.

    :param interval: seconds between messages, at least.
    :param selection: chooses what is told; None is everything.
    :param notice: called when something is not taken, or cannot be decoded.
    """

    def __init__(
        self,
        schemas: Schemas,
        composer: Composer,
        destinations: Sequence[Destination],
        *,
        interval: float,
        selection: Selection | None = None,
        command: Command | None = None,
        notice: Notice = lambda text: None,
    ) -> None:
        self._composer = composer
        self._destinations = destinations
        self._command = command
        self._notice = notice
        self._report = ReportedOnce(notice)
        paths = None if command else composer.paths()
        self.decoder = SelectingDecoder(schemas, paths, notice, selection)
        self._bundler = Bundler(interval)
        self.latencies = TopicLatencies()
        """Those of alerts that a message lists, or that a command has accepted."""
        self._offsets: Offsets = {}
        self.account = ReadingAccount("told")
        self._committed = replace(self.account)
        self._last: Places = {}
        self._told: Places = {}

    async def run(self, consumer: Consumer, stop: asyncio.Event) -> ReadingAccount:
        """Notify of what a consumer reads until ``stop`` or the topic's end; return the account.

        The group's offsets move when what they stand for has been accepted.
        """
        batches = consumer.batches(stop, before_rebalance=self._forget)
        async for batch in decodable(batches, self.decoder, stop):
            async with consumer.rebalance_lock:
                await self._take(batch, stop)
                if not self._bundler.count or self._bundler.is_due(time.monotonic()):
                    await self._tell(consumer, stop)
        async with consumer.rebalance_lock:
            await self._tell(consumer, stop)
        return self.account

    async def _forget(self) -> None:
        """Discard what is not sent: the partitions' next member reads it again."""
        self._bundler.clear()
        self._offsets, self._last = {}, {}
        self.account = replace(self._committed)

    async def _take(self, batch: Sequence[KafkaMessage], stop: asyncio.Event) -> None:
        done = 0
        for message in batch:
            if stop.is_set() or not await self._take_message(message, stop):
                break
            done += 1
            self._last[message.topic, message.partition] = message.offset, message.timestamp
        self._offsets |= next_offsets(batch[:done])

    async def _take_message(self, message: KafkaMessage, stop: asyncio.Event) -> bool:
        """Bundle an alert, or give it to the command; return False if a stop came first."""
        told = self._told.get((message.topic, message.partition))
        if told and message.offset <= told[0] and message.timestamp <= told[1]:
            # Sent, but not committed: the group had given us up while a service was down.
            return True
        self.account.read += 1
        alert = self.decoder.select(message, whole=bool(self._command) or self._bundler.has_room)
        if isinstance(alert, str):
            self.account.count(alert)
        elif isinstance(alert, Undecodable):
            self.account.undecodable += 1
        elif self._command is None:
            self._bundler.add(alert)
        else:
            try:
                what = await self._give(self._command, alert, stop)
            except UndecodableError as error:
                self.decoder.reject(message, error.what)
                what = "undecodable"
            if what is None:
                return False
            self.account.count(what)
        return True

    async def _give(
        self, command: Command, alert: ReceivedAlert, stop: asyncio.Event
    ) -> str | None:
        """Give an alert to a command; return what it counts as; None if a stop came first.

        :raises UndecodableError: the alert has fields of unexpected types.
        """
        line = LineFormat(format="json").alert_line(alert.message, alert)
        cause = None
        for attempt in range(MAX_TRIES):
            if attempt and not await _paused(attempt, stop):
                return None
            try:
                cause = await unless_stopped(stop, command.take(line))
            except TimeoutError:
                return None
            if cause is None:
                self.latencies.add([alert.message])
                return "done"
        what = f"{command.label} does not take an alert, {MAX_TRIES} times: {cause}"
        self._report(f"{cause}", f"{what} · {alert.message.position}")
        return "failed"

    async def _tell(self, consumer: Consumer, stop: asyncio.Event) -> None:
        """Send what is bundled, if anything, and then move the group's offsets."""
        if self._bundler.count:
            bundle = self._bundler.take(time.monotonic())
            message = self._composer.message(bundle)
            picture = await in_thread(partial(self._composer.picture, bundle.listed))
            message = replace(message, picture=picture)
            sent = (self._deliver(each, message, stop) for each in self._destinations)
            if not all(await asyncio.gather(*sent)):
                self._offsets, self._last = {}, {}
                return
            self.account.done += bundle.count
            self.account.messages += 1
            self.latencies.add(each.message for each in bundle.listed)
        offsets, self._offsets = self._offsets, {}
        self._told |= self._last
        self._committed = replace(self.account)
        await consumer.commit(offsets)

    async def _deliver(
        self, destination: Destination, message: Message, stop: asyncio.Event
    ) -> bool:
        """Send a message until it is accepted; return False if a stop came first."""
        before = None
        for attempt in count():
            if attempt and not await _paused(attempt, stop):
                return False
            if attempt == PLAIN_AFTER:
                message = replace(message, picture=None)
            try:
                sending = asyncio.wait_for(
                    in_thread(partial(destination.send, message)), SEND_TIMEOUT
                )
                cause = await unless_stopped(stop, sending)
            except TimeoutError:
                cause = "no answer"
            if cause is None:
                break
            if cause != before:
                again = "" if stop.is_set() else " · trying again until it does"
                self._notice(f"{destination.label} has not taken a message: {cause}{again}")
            before = cause
        if before:
            self._notice(f"{destination.label} takes messages again")
        return True


async def _paused(attempt: int, stop: asyncio.Event) -> bool:
    """Wait before the next attempt; return False if a stop came first."""
    pause = min(FIRST_PAUSE * 2 ** (attempt - 1), MAX_PAUSE)
    return not await stopped_within(stop, pause)
