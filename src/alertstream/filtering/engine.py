"""The engine: decoded alerts in, decisions out, with neither Kafka nor waiting in between.

Which filters want an alert is known at once; which get it, only when all claims on its visit are
known, since caps are shared. So the engine judges messages, the caller makes the claims, and then
the engine decides.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from alertstream.errors import Event, Notice
from alertstream.filtering.account import Decided, FilterCounts
from alertstream.filtering.caps import Claim, VisitCaps, bits, source_key, visit_or_minute
from alertstream.filtering.filter_offsets import FilterOffsets
from alertstream.filtering.filters import AlertFilter
from alertstream.filtering.watchdog import Watchdog
from alertstream.kafka.messages import MAX_ADDED, MAX_MATCH, Copy, Message, encode_matches
from alertstream.kafka.topics import UNDECODABLE_SUFFIX, is_pattern
from alertstream.reading.decoder import ReceivedAlert, ReportedOnce, Undecodable

JUDGING_TIMEOUT = 0.25
"""Seconds of judging after which other work has its turn, such as heartbeats to the group."""

Matched = dict[int, bytes]
"""The header of what an alert matched, by the places of filters."""
Tally = Counter[tuple[int | None, int]]
"""Numbers of alerts by their visit and the bits of the filters concerned."""


@dataclass
class Judged:
    """Which filters want some messages, and the claims to make before deciding.

    :param wanted: alerts with their visit, the claim of the filters that want them, and, by filter,
        the header of what they matched, where it is new.
    :param seen: numbers of alerts that were given to filters.
    :param undecodable: messages that come to the group for the first time.
    :param uncounted: numbers of undecodable messages, by the filters that have not counted them.
    :param failed: alerts on which filters' code raised an error.
    :param set_aside: alerts that are larger than a filter's topic takes.
    :param size: bytes of the copies that there may be.
    """

    messages: list[Message] = field(default_factory=list)
    wanted: list[tuple[Message, int | None, Claim, Matched]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    undecodable: list[Undecodable] = field(default_factory=list)
    seen: Tally = field(default_factory=Counter)
    uncounted: Counter[int] = field(default_factory=Counter)
    failed: Tally = field(default_factory=Counter)
    set_aside: list[Undecodable] = field(default_factory=list)
    size: int = 0


class FilterEngine:
    """Runs all filters on every alert.

    :param caps: of the filters, in their order; the caller applies claims to them.
    :param notice: called with each kind of error that a filter's code raises.
    :param now: the time in seconds, by a clock that is never set back.
    :param limits: bytes of the largest batch that the filters' topics take, as far as it is known.
    :param thin: returns what is copied of a message that passes.
    :param offsets: each filter's position, if it is not the same for all.
    """

    def __init__(
        self,
        filters: Sequence[AlertFilter],
        caps: VisitCaps,
        notice: Notice = lambda text: None,
        now: Callable[[], float] = time.monotonic,
        limits: Mapping[str, int] = MappingProxyType({}),
        thin: Callable[[Message], Message] = lambda message: message,
        offsets: FilterOffsets | None = None,
    ) -> None:
        self._topics = [each.topic for each in filters]
        self._outputs = ["" if is_pattern(topic) else topic for topic in self._topics]
        self._caps = caps
        self._offsets = offsets or FilterOffsets(self._topics, caps.keys)
        self._report = ReportedOnce(notice)
        self._watchdog = Watchdog(self._topics, [each.passes for each in filters], notice)
        self._now = now
        self._limits = limits
        self._fits_all = math.inf
        self._thin = thin

    def judge(
        self, messages: Iterable[ReceivedAlert | Undecodable], max_size: float = math.inf
    ) -> Iterator[Judged]:
        """Yield which filters want the messages, in order, in portions.

        Each portion is to be claimed and decided before the next one is asked for.

        :param max_size: bytes of copies after which a portion ends.
        """
        waiting = iter(messages)
        while judged := self._portion(waiting, max_size):
            yield judged

    def _portion(
        self, messages: Iterator[ReceivedAlert | Undecodable], max_size: float
    ) -> Judged | None:
        """Return which filters want the next messages; None if there are none."""
        judged, begin, offsets, due = Judged(), self._now(), self._offsets, self._offsets.all
        largest = min(self._limits.values(), default=math.inf)
        self._fits_all = largest - MAX_ADDED - MAX_MATCH
        with self._watchdog.watching():
            for each in messages:
                judged.messages.append(each.message)
                if offsets.ahead:
                    due = offsets.due(each.message)
                if not isinstance(each, Undecodable):
                    self._judge(each, due, judged)
                else:
                    judged.uncounted[due] += 1
                    if due == offsets.all:
                        judged.undecodable.append(each)
                if judged.size >= max_size or self._now() - begin > JUDGING_TIMEOUT:
                    break
        return judged if judged.messages else None

    def _judge(self, alert: ReceivedAlert, due: int, judged: Judged) -> None:
        visit, message = alert.visit, alert.message
        judged.seen[visit, due] += 1
        wanted, failed = self._watchdog.passed(alert, due)
        if failed:
            judged.failed[visit, failed] += 1
        if not wanted:
            return
        matched = self._matched(alert, wanted) if alert.matches_by_turn else {}
        if message.size > self._fits_all:
            wanted = self._that_fit(alert, wanted, matched, judged)
        if not wanted:
            return
        source = source_key(alert.source_id) if self._caps.unique else None
        claim = Claim(visit_or_minute(visit, message.timestamp), *message[:3], wanted, source)
        judged.wanted.append((message, visit, claim, matched))
        if self._caps.is_duplicate(claim):
            return
        claimed = self._caps.open(claim)
        if claimed:
            judged.claims.append(claim._replace(filters=claimed))
        judged.size += (self._caps.granted(claim) | claimed).bit_count() * message.size

    def _matched(self, alert: ReceivedAlert, wanted: int) -> Matched:
        """Return the header of what an alert matched, for those filters that changed it."""
        headers = {}
        for index, found in self._watchdog.matched(alert, wanted).items():
            try:
                if found != alert.message.matches:
                    headers[index] = encode_matches(found)
            except ValueError as error:
                topic = self._topics[index]
                text = f"{topic}: what it appends to alert.matches is left out: {error}"
                self._report(f"{topic} matches", text)
        return headers

    def _that_fit(self, alert: ReceivedAlert, wanted: int, matched: Matched, judged: Judged) -> int:
        """Return the bits of those filters whose topics take an alert."""
        visit, message = alert.visit, alert.message
        for index in bits(wanted):
            topic = self._outputs[index] or message.topic
            limit = self._limits.get(topic, math.inf)
            header = matched.get(index, b"")
            if header and Copy(topic, message.with_matches(header)).max_size > limit:
                del matched[index]
            if Copy(topic, message).max_size > limit:
                wanted &= ~(1 << index)
                judged.failed[visit, 1 << index] += 1
                cause = f"larger than {topic} takes"
                judged.set_aside.append(Undecodable(message, cause))
                text = f"an alert is {cause}: it failed, and is set aside · {message.position}"
                text += " · raise the topic's max.message.bytes"
                self._report(cause, Event(text, filter=topic, **message.place, cause=cause))
        return wanted

    def decide(self, judged: Judged) -> Decided:
        """Return the decisions on messages, once all claims on their visits are applied."""
        copies = [
            Copy(f"{each.message.topic}{UNDECODABLE_SUFFIX}", each.message, each.cause)
            for each in judged.undecodable + judged.set_aside
            # Messages that are dead-lettered already stay where they are.
            if not each.message.topic.endswith(UNDECODABLE_SUFFIX)
        ]
        passed, capped, duplicate = Tally(), Tally(), Tally()
        for message, visit, claim, matched in judged.wanted:
            if self._caps.is_duplicate(claim):
                duplicate[visit, claim.filters] += 1
                continue
            granted = self._caps.granted(claim)
            passed[visit, granted] += 1
            capped[visit, claim.filters & ~granted] += 1
            if granted:
                copied = self._thin(message)
                copies += [
                    Copy(
                        self._outputs[index] or message.topic,
                        copied.with_matches(matched[index]) if index in matched else copied,
                    )
                    for index in bits(granted)
                ]
        self._caps.forget_old()
        offsets = self._offsets.after(judged.messages, self._caps.as_metadata())
        tallies = {"passed": passed, "capped": capped, "duplicate": duplicate}
        tallies["failed"] = judged.failed
        counts = partial(self._counts, judged.seen, tallies)
        undecodable: Counter[str] = Counter()
        for filters, messages in judged.uncounted.items():
            undecodable.update({self._topics[index]: messages for index in bits(filters)})
        return Decided(copies, offsets, counts, undecodable)

    def _counts(
        self, seen: Mapping[tuple[int | None, int], int], tallies: Mapping[str, Tally]
    ) -> Iterator[FilterCounts]:
        """Yield each visit's counts for each filter that has seen it."""
        of_visits: dict[int | None, list[tuple[str, int, int]]] = {visit: [] for visit, _ in seen}
        for (visit, due), alerts in seen.items():
            if due != self._offsets.all:
                of_visits[visit].append(("seen", due, alerts))
        for name, tally in tallies.items():
            for (visit, filters), alerts in tally.items():
                of_visits[visit].append((name, filters, alerts))
        for visit, found in of_visits.items():
            by_all = seen.get((visit, self._offsets.all), 0)
            counts = [FilterCounts(topic, visit, by_all) for topic in self._topics]
            for name, filters, alerts in found:
                for index in bits(filters):
                    each = counts[index]
                    setattr(each, name, getattr(each, name) + alerts)
            yield from (each for each in counts if each.seen)
