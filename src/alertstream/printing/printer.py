"""A topic to people, programs and files: select, render, write, commit, batch by batch."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alertstream.alert.surveys import cutout_paths, field_paths
from alertstream.alert.text import SHOWN
from alertstream.avro.schemas import Schemas
from alertstream.errors import DataError, DeliveryError, Event, Notice, UndecodableError
from alertstream.filtering.selection import Selection
from alertstream.kafka.consumer import Consumer
from alertstream.kafka.messages import Message, Offsets, encode_matches, next_offsets
from alertstream.printing.lines import LineFormat, types_expected
from alertstream.printing.writers import Writer
from alertstream.reading.decoder import (
    AlertDecoder,
    ReceivedAlert,
    ReportedOnce,
    Undecodable,
    decodable,
)
from alertstream.reading.histogram import Histogram, add_latencies
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


@dataclass
class PrintAccount:
    """What became of the messages: ``read == printed + skipped + undecodable + failed``.

    :param failed: alerts on which a filter's code raised an error, and so are not shown.
    :param not_shown: cutouts that no picture shows.
    :param files: what each writer has saved, in a line for people.
    """

    read: int = 0
    printed: int = 0
    undecodable: int = 0
    failed: int = 0
    not_shown: int = 0
    files: list[str] = field(default_factory=list)

    @property
    def shown(self) -> int:
        """Messages that were shown."""
        return self.printed + self.undecodable

    @property
    def skipped(self) -> int:
        """Messages that were not to be shown."""
        return self.read - self.shown - self.failed

    def as_lines(self) -> list[str]:
        """Return the account for people."""
        sums = (
            f"{self.read} read = {self.printed} printed + {self.skipped} skipped"
            f" + {self.undecodable} undecodable"
        )
        if self.failed:
            sums += f" + {self.failed} failed"
        if self.not_shown:
            sums += f", {self.not_shown} cutouts cannot be shown"
        return [sums, *self.files]


class Printer:
    """Shows messages as lines and in files: each message in all of them, or in none.

    :param write: takes lines, without their ends; it may take its time.
    :param writers: take what is shown to files; they are closed at the end.
    :param selection: chooses what is shown, besides the visit; None is everything.
    :param draw: returns cutouts as text that draws them in a terminal.
    :param notice: called when a message cannot be decoded or a cutout not shown, once per cause.
    """

    def __init__(
        self,
        schemas: Schemas,
        options: PrintOptions,
        write: Callable[[list[str]], Awaitable[None]],
        *,
        writers: Sequence[Writer] = (),
        selection: Selection | None = None,
        draw: Callable[[Triplet], str] | None = None,
        notice: Notice = lambda text: None,
    ) -> None:
        self.account = PrintAccount()
        self.undecodable: Counter[str] = Counter()
        """Messages that cannot be decoded, by topic."""
        self.latencies: defaultdict[str, Histogram] = defaultdict(Histogram)
        """From Kafka's timestamp of an alert to its lines written, by topic."""
        self._options = options
        self._write = write
        self._writers = writers
        self._draw = draw
        self._report = ReportedOnce(notice)
        self._selection = selection
        # Both decoders see the same messages, of which is told once.
        self._decoder = AlertDecoder(schemas, self._paths(), self._report)
        self._chooser: AlertDecoder | None = None
        if selection is not None or options.visit is not None:
            # Most of what is not chosen is never decoded.
            paths = selection.paths() if selection is not None else set()
            if paths is not None:
                paths |= field_paths(["visit"])
            self._chooser = AlertDecoder(schemas, paths, self._report)
        self._thin = Thinning(options.without, schemas, notice)
        self._lines = options.heading()
        self._pending = 0
        self._shown: list[tuple[str, int]] = []
        self._offsets: Offsets = {}

    def _paths(self) -> set[str] | None:
        """Return the dotted paths to decode; None is all."""
        paths = self._options.paths()
        if paths is None:
            return None
        if self._draw:
            paths |= field_paths(SHOWN) | cutout_paths()
        return paths.union(*(writer.paths() for writer in self._writers))

    async def run(self, consumer: Consumer, stop: asyncio.Event) -> PrintAccount:
        """Show what a consumer reads, until ``stop`` or the topic's end.

        The group's offsets move when what they stand for is written.

        :raises DataError: a file cannot be written.
        :raises DeliveryError: other than what was shown has been saved.
        """
        # What is flushed is saved, or else only what is closed.
        durable = all(writer.durable for writer in self._writers)
        batches = consumer.batches(stop, after_rebalance=self._require_saved)
        async for batch in decodable(batches, self._chooser or self._decoder, stop):
            async with consumer.rebalance_lock:
                await self._show(batch, stop)
                await self._flush()
                self._count_latencies()
                if durable:
                    await self._commit(consumer)
            if self._is_done:
                break
        await self._close()
        await self._commit(consumer)
        return self.account

    def _count_latencies(self) -> None:
        add_latencies(self.latencies, self._shown)
        self._shown = []

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
    def _is_done(self) -> bool:
        return 0 < self._options.count <= self.account.shown

    async def _show(self, batch: Sequence[Message], stop: asyncio.Event) -> None:
        done = 0
        for message in batch:
            done += 1
            if self.account.read % self._options.interval == 0:
                await self._show_message(message)
            self.account.read += 1
            if self._is_done or stop.is_set():
                break
            if self._pending > MAX_PENDING:
                await self._flush()
        self._offsets |= next_offsets(batch[:done])

    async def _show_message(self, message: Message) -> None:
        chosen = self._chosen(message)
        if chosen is None:
            return
        alert = self._decoder.decode(self._thin(chosen))
        if isinstance(alert, Undecodable):
            self._show_undecodable(alert)
            return
        try:
            if self._draws:
                # A picture takes some 20 ms, and Kafka must hear of this group meanwhile.
                await asyncio.to_thread(self._show_alert, alert)
            else:
                self._show_alert(alert)
        except UndecodableError as error:
            self._show_undecodable(self._decoder.reject(message, error.what))

    def _chosen(self, message: Message) -> Message | None:
        """Return a message if it is to be shown, with what its alert matched.

        What is no alert is shown at once.
        """
        if self._chooser is None:
            return message
        alert, visit = self._chooser.decode(message), self._options.visit
        if isinstance(alert, Undecodable):
            self._show_undecodable(alert)
            return None
        if visit is not None and alert.visit != visit:
            return None
        passes = self._selection.passes(alert) if self._selection is not None else True
        self.account.failed += passes is None
        if passes and alert.matches_by_turn:
            try:
                message = message.with_matches(encode_matches(alert.matches))
            except ValueError as error:
                self._report(f"what a filter appends to alert.matches is left out: {error}")
        return message if passes else None

    @property
    def _draws(self) -> bool:
        """Whether there is anywhere for a picture to go."""
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
        self.account.printed += 1
        self._shown.append((alert.message.topic, alert.message.timestamp))

    def _report_hidden(self, message: Message, triplet: Triplet) -> None:
        kept = any(writer.keeps_cutouts for writer in self._writers)
        for cause in triplet.causes.values():
            self.account.not_shown += 1
            text = f"cutout cannot be shown: {cause} · {message.position}"
            text = f"{text} · kept as FITS" if kept else text
            self._report(cause, Event(text, **message.place, cause=cause))

    def _show_undecodable(self, undecodable: Undecodable) -> None:
        self.account.undecodable += 1
        self.undecodable[undecodable.message.topic] += 1
        self._add(*self._options.undecodable_lines(*undecodable))
        for writer in self._writers:
            writer.add_undecodable(undecodable.message)

    def _add(self, *lines: str) -> None:
        self._lines += lines
        self._pending += sum(map(len, lines))

    async def _flush(self) -> None:
        if self._lines:
            lines, self._lines, self._pending = self._lines, [], 0
            await self._write(lines)
        for writer in self._writers:
            await asyncio.to_thread(writer.flush)

    async def _close(self) -> None:
        for writer in self._writers:
            files = await asyncio.to_thread(writer.close)
            self.account.files.append(writer.summary(files))
            expected = self.account.shown if writer.keeps_undecodable else self.account.printed
            if writer.saved != expected:
                raise DeliveryError(
                    f"{expected} were to be saved, but {writer.saved} were",
                    todo="this should not happen: please report it",
                )
