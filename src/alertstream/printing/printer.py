"""Shows and saves a topic's alerts: select, render, write, commit, batch by batch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alertstream.alert.surveys import cutout_paths, field_paths
from alertstream.alert.text import SHOWN
from alertstream.avro.schemas import Schemas
from alertstream.errors import DataError, DeliveryError, Event, Notice, UndecodableError
from alertstream.filtering.selection import SelectingDecoder, Selection
from alertstream.kafka.consumer import Consumer
from alertstream.kafka.messages import Message, Offsets, next_offsets
from alertstream.printing.account import ReadingAccount
from alertstream.printing.lines import LineFormat, types_expected
from alertstream.printing.writers import Writer
from alertstream.reading.decoder import ReceivedAlert, ReportedOnce, Undecodable, decodable
from alertstream.reading.histogram import TopicLatencies
from alertstream.reading.thinning import Thinning

if TYPE_CHECKING:
    from alertstream.alert.pictures import Triplet

MAX_PENDING = 1_000_000
"""Characters of lines that are written at once."""


@dataclass(frozen=True, kw_only=True)
class PrintOptions(LineFormat):
    """Which messages to show, and how.

    :param interval: show only every how many-th message.
    :param count: how many at most, undecodable ones included; 0 is no limit.
    :param visit: show only this visit's alerts, and what is undecodable.
    :param without: top-level fields that are null in what is shown and saved.
    """

    interval: int = 1
    count: int = 0
    visit: int | None = None
    without: frozenset[str] = frozenset()


class Printer:
    """Shows messages as lines and in files: each message in all of them, or in none.

    :param write: takes lines, without their ends, and the stop; it may be slow.
    :param writers: save what is shown; they are closed at the end.
    :param selection: chooses what is shown, besides the visit; None is everything.
    :param draw: returns cutouts as text that draws them in a terminal.
    :param notice: called when a message cannot be decoded or a cutout not shown, once per cause.
    """

    def __init__(
        self,
        schemas: Schemas,
        options: PrintOptions,
        write: Callable[[list[str], asyncio.Event], Awaitable[None]],
        *,
        writers: Sequence[Writer] = (),
        selection: Selection | None = None,
        draw: Callable[[Triplet], str] | None = None,
        notice: Notice = lambda text: None,
    ) -> None:
        self.account = ReadingAccount("printed")
        self.latencies = TopicLatencies()
        self._options = options
        self._write = write
        self._writers = writers
        self._draw = draw
        self._report = ReportedOnce(notice)
        thin = Thinning(options.without, schemas, notice)
        self.decoder = SelectingDecoder(
            schemas, self._paths(), notice, selection, visit=options.visit, thin=thin
        )
        self._lines = options.heading()
        self._pending = 0
        self._shown: list[Message] = []
        self._offsets: Offsets = {}

    def _paths(self) -> set[str] | None:
        """Return the dotted paths to decode; None is all."""
        paths = self._options.paths()
        if paths is None:
            return None
        if self._draw:
            paths |= field_paths(SHOWN) | cutout_paths()
        return paths.union(*(writer.paths() for writer in self._writers))

    async def run(self, consumer: Consumer, stop: asyncio.Event) -> ReadingAccount:
        """Show what a consumer reads, until ``stop`` or the topic's end.

        The group's offsets move when what they stand for is written.

        :raises DataError: a file cannot be written.
        :raises DeliveryError: not all that was shown has been saved.
        """
        # Other writers have saved nothing until they are closed.
        durable = all(writer.durable for writer in self._writers)
        batches = consumer.batches(stop, after_rebalance=self._require_saved)
        async for batch in decodable(batches, self.decoder, stop):
            async with consumer.rebalance_lock:
                await self._show(batch, stop)
                await self._flush(stop)
                self.latencies.add(self._shown)
                self._shown.clear()
                if durable:
                    await self._commit(consumer)
            if self._is_done:
                break
        await self._close()
        await self._commit(consumer)
        return self.account

    async def _commit(self, consumer: Consumer) -> None:
        offsets, self._offsets = self._offsets, {}
        await consumer.commit(offsets)

    async def _require_saved(self) -> None:
        """Refuse a rebalance while something that was read is not saved yet."""
        if self._offsets:
            raise DataError(
                "another member joined the group, and would read again what is not saved yet",
                todo="save as .avro, or save other files in a group of one member",
            )

    @property
    def _shown_so_far(self) -> int:
        return self.account.done + self.account.undecodable

    @property
    def _is_done(self) -> bool:
        return 0 < self._options.count <= self._shown_so_far

    async def _show(self, batch: Sequence[Message], stop: asyncio.Event) -> None:
        done = 0
        for message in batch:
            done += 1
            if self.account.read % self._options.interval == 0:
                await self._show_message(message)
            else:
                self.account.skipped += 1
            self.account.read += 1
            if self._is_done or stop.is_set():
                break
            if self._pending > MAX_PENDING:
                await self._flush(stop)
        self._offsets |= next_offsets(batch[:done])

    async def _show_message(self, message: Message) -> None:
        alert = self.decoder.select(message)
        if isinstance(alert, str):
            self.account.count(alert)
            return
        if isinstance(alert, Undecodable):
            self._show_undecodable(alert)
            return
        try:
            if self._draws:
                # A picture takes some 20 ms: let heartbeats to the group through meanwhile.
                await asyncio.to_thread(self._show_alert, alert)
            else:
                self._show_alert(alert)
        except UndecodableError as error:
            self._show_undecodable(self.decoder.reject(message, error.what))

    @property
    def _draws(self) -> bool:
        """Whether a picture is wanted anywhere."""
        return self._draw is not None or any(each.wants_pictures for each in self._writers)

    def _show_alert(self, alert: ReceivedAlert) -> None:
        line, images = self._options.alert_line(alert.message, alert), None
        with types_expected():
            if self._draws:
                from alertstream.alert.pictures import triplet

                images = triplet(alert)
            taken = [each.prepare(alert, images) for each in self._writers]
        for take in taken:
            take()
        self._add(line)
        if images:
            self._report_hidden(alert.message, images)
            if self._draw:
                self._add(self._draw(images))
        self.account.done += 1
        self._shown.append(alert.message)

    def _report_hidden(self, message: Message, triplet: Triplet) -> None:
        kept = any(writer.keeps_cutouts for writer in self._writers)
        for cause in triplet.causes.values():
            self.account.not_shown += 1
            text = f"cutout cannot be shown: {cause} · {message.position}"
            text = f"{text} · kept as FITS" if kept else text
            self._report(cause, Event(text, **message.place, cause=cause))

    def _show_undecodable(self, undecodable: Undecodable) -> None:
        self.account.undecodable += 1
        self._add(*self._options.undecodable_lines(*undecodable))
        for writer in self._writers:
            writer.add_undecodable(undecodable.message)

    def _add(self, *lines: str) -> None:
        self._lines += lines
        self._pending += sum(map(len, lines))

    async def _flush(self, stop: asyncio.Event) -> None:
        if self._lines:
            lines, self._lines, self._pending = self._lines, [], 0
            await self._write(lines, stop)
        for writer in self._writers:
            await asyncio.to_thread(writer.flush)

    async def _close(self) -> None:
        for writer in self._writers:
            files = await asyncio.to_thread(writer.close)
            self.account.files.append(writer.summary(files))
            expected = self._shown_so_far if writer.keeps_undecodable else self.account.done
            if writer.saved != expected:
                raise DeliveryError(
                    f"{expected} were to be saved, but {writer.saved} were",
                    todo="this should not happen: please report it",
                )
