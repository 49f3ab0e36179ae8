"""Judges messages by all filters at once, and keeps the account of what became of them.

What filters want of a message is known at once; what they get, when all that is claimed of its
visit is known: a judgement is decided then. It can be taken back, as long as it is not written:
when Kafka does not take what follows from it, its messages are read and judged again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from alertstream.alert.fields import missing_in
from alertstream.alert.survey import QUANTITIES, Alert, field_paths
from alertstream.avro.codec import MessageDecoder
from alertstream.avro.schemas import Schema, Schemas, full_name
from alertstream.errors import UndecodableError
from alertstream.filtering.caps import Claim, VisitCaps, bits
from alertstream.filtering.filters import AlertFilter, error_line, union_of_fields
from alertstream.kafka.admin import UNDECODABLE
from alertstream.kafka.consumer import next_offsets
from alertstream.kafka.producer import Copy, Message, Offsets, position_of
from alertstream.reading.stats import VISIT_IS_OVER, Causes, FilterCounts
from alertstream.sending.schedule import Clock

JUDGED_TOGETHER = 64 * 1024 * 1024
"""Bytes of copies that are written in one transaction: none is read before all are written."""
JUDGING_LIMIT = 0.25
"""Seconds of judging after which other work has its turn, as telling the group that we live."""


@dataclass(frozen=True)
class FilterOptions:
    """Which filters to run.

    :param cap: alerts of a visit that a filter lets through; 0 is no limit.
    """

    filters: Sequence[AlertFilter]
    cap: int = 20


@dataclass
class Judgement:
    """What follows from some messages: copies to write, where reading goes on, and the counts.

    ``wanted`` are messages with their visit and the bits of the filters that want them, as far as
    their caps are not reached yet; ``claims`` are what is to be claimed of that before it is
    decided. ``passed`` and ``capped`` are counted by visit and filter, ``failed`` by filter;
    ``bytes`` are those of all copies, ``held`` those of the messages that they are copies of.
    """

    wanted: list[tuple[Message, int | None, int]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    offsets: Offsets = field(default_factory=dict)
    bytes_wanted: int = 0
    bytes: int = 0
    held: int = 0
    undecodable: int = 0
    seen: Counter[int | None] = field(default_factory=Counter)
    passed: Counter[tuple[int | None, int]] = field(default_factory=Counter)
    capped: Counter[tuple[int | None, int]] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)

    def add_copies(self, message: Message, copies: Sequence[Copy]) -> None:
        """Add what is to be written of a message."""
        size = len(message.value or b"")
        self.copies += copies
        self.bytes += len(copies) * size
        self.held += size if copies else 0


@dataclass
class _VisitCounts:
    """One visit's counts: ``passed`` and ``capped`` by filter."""

    passed: list[int]
    capped: list[int]
    seen: int = 0
    last_alert: float = 0.0


@dataclass
class Sieve:
    """Judges messages by all filters at once, and keeps the account.

    :param notice: called with a line for the user when something goes wrong for the first time.
    """

    options: FilterOptions
    schemas: Schemas
    clock: Clock
    notice: Callable[[str], None] = lambda text: None
    judged_together: int = JUDGED_TOGETHER
    totals: list[FilterCounts] = field(init=False)
    undecodable: int = 0

    def __post_init__(self) -> None:
        filters = self.options.filters
        self.topics = [each.topic for each in filters]
        self.caps = VisitCaps(self.topics, self.options.cap)
        self.totals = [FilterCounts(topic, None) for topic in self.topics]
        fields = union_of_fields(filters)
        paths = None if fields is None else field_paths([*fields, "visit"])
        self._paths = sorted({*(fields or ())} - QUANTITIES)
        self._decoder = MessageDecoder(self.schemas, paths, self._tell_missing)
        self._visits: dict[int | None, _VisitCounts] = {}
        self._causes = Causes()

    def judge(self, batch: Sequence[Message]) -> Iterator[Judgement]:
        """Yield what follows from the messages, in their order, in portions to be decided."""
        begin, judgement = self.clock.now(), Judgement()
        for message in batch:
            self._judge(message, judgement)
            judgement.offsets |= next_offsets((message,))
            long = self.clock.now() - begin > JUDGING_LIMIT
            if judgement.bytes_wanted >= self.judged_together or long:
                yield judgement
                begin, judgement = self.clock.now(), Judgement()
        if judgement.offsets:
            yield judgement

    def _judge(self, message: Message, judgement: Judgement) -> None:
        try:
            alert = Alert(self._decoder.decode(message.value))
        except UndecodableError as error:
            judgement.undecodable += 1
            place = position_of(message)
            text = (
                f"undecodable message: {error.what} · {place} · more of the kind are counted only"
            )
            self._tell_once(error.what, text)
            # What has been set aside already stays where it is.
            if not message.topic.endswith(UNDECODABLE):
                copy = Copy(f"{message.topic}{UNDECODABLE}", message, error.what)
                judgement.add_copies(message, [copy])
            return
        visit = alert.visit
        judgement.seen[visit] += 1
        wanted = 0
        for index in self._passed_by(alert, judgement):
            wanted |= 1 << index
        if wanted:
            self._want(message, visit, wanted, judgement)

    def _want(self, message: Message, visit: int | None, wanted: int, judgement: Judgement) -> None:
        """Claim the message for those whose cap is not known to be reached without it."""
        place = (message.topic, message.partition, message.offset)
        granted = wanted & self.caps.granted(visit, *place)
        unknown = wanted & ~granted & ~self.caps.full(visit)
        for index in bits(wanted & ~granted & ~unknown):
            judgement.capped[visit, index] += 1
        if unknown:
            judgement.claims.append(Claim(visit, *place, unknown))
        if unknown | granted:
            judgement.wanted.append((message, visit, unknown | granted))
            judgement.bytes_wanted += (unknown | granted).bit_count() * len(message.value or b"")

    def decide(self, judgement: Judgement) -> Judgement:
        """Return the judgement with its copies and counts, when its claims are known."""
        for message, visit, wanted in judgement.wanted:
            place = (message.topic, message.partition, message.offset)
            granted = wanted & self.caps.granted(visit, *place)
            for index in bits(granted):
                judgement.passed[visit, index] += 1
            for index in bits(wanted & ~granted):
                judgement.capped[visit, index] += 1
            copies = [Copy(self.topics[index], message) for index in bits(granted)]
            judgement.add_copies(message, copies)
        self.caps.forget_old()
        kept = self.caps.written()
        judgement.offsets = {each: (at, kept) for each, (at, _) in judgement.offsets.items()}
        self._count(judgement, 1)
        return judgement

    def _passed_by(self, alert: Alert, judgement: Judgement) -> Iterator[int]:
        for index, each in enumerate(self.options.filters):
            try:
                if each.passes(alert):
                    yield index
            except Exception as error:
                judgement.failed[index] += 1
                cause = error_line(error)
                text = f"{each.topic} fails on an alert, which it rejects thereby: {cause}"
                self._tell_once(f"{each.topic} {cause}", text)

    def _tell_missing(self, schema: Schema) -> None:
        """Tell which fields that filters look at are missing in the alerts of a schema."""
        name, missing = full_name(schema), missing_in(schema, self._paths)
        if missing:
            text = f"{name} has no {', '.join(missing)}: for its alerts, filters see None there"
            self._tell_once(f"{name} {missing}", text)

    def _tell_once(self, cause: str, text: str) -> None:
        if self._causes.is_new(cause):
            self.notice(text)

    def take_back(self, judgement: Judgement) -> None:
        """Count its messages as not seen: they will be read again. What is claimed stays so."""
        self._count(judgement, -1)

    def _count(self, judgement: Judgement, sign: int) -> None:
        self.undecodable += sign * judgement.undecodable
        for visit, count in judgement.seen.items():
            counts = self._visits.get(visit)
            if counts is None:
                blank = [0] * len(self.topics)
                counts = self._visits[visit] = _VisitCounts(blank, list(blank))
            counts.seen += sign * count
            counts.last_alert = self.clock.now()
        for (visit, index), count in judgement.passed.items():
            self._visits[visit].passed[index] += sign * count
        for (visit, index), count in judgement.capped.items():
            self._visits[visit].capped[index] += sign * count
        for index, count in judgement.failed.items():
            self.totals[index].failed += sign * count

    def close_visits(self, *, all_of_them: bool = False) -> Iterator[FilterCounts]:
        """Yield each filter's counts of the visits that are over, and add them to the totals.

        A visit is over when no alert of it has come for ``VISIT_IS_OVER``; should one come later
        after all, it is counted in another report on the same visit.
        """
        latest = self.clock.now() - VISIT_IS_OVER
        over = [
            visit
            for visit, counts in self._visits.items()
            if all_of_them or counts.last_alert < latest
        ]
        for visit in over:
            counts = self._visits.pop(visit)
            for index, total in enumerate(self.totals):
                passed, capped = counts.passed[index], counts.capped[index]
                total.seen += counts.seen
                total.passed += passed
                total.capped += capped
                if counts.seen:
                    yield FilterCounts(total.filter, visit, counts.seen, passed, capped)

    @property
    def seen(self) -> int:
        """Alerts judged so far, in visits closed or not."""
        open_visits = sum(counts.seen for counts in self._visits.values())
        return self.totals[0].seen + open_visits + self.undecodable

    @property
    def passed(self) -> int:
        """Copies of alerts that were let through so far, by all filters."""
        open_visits = sum(sum(counts.passed) for counts in self._visits.values())
        return sum(total.passed for total in self.totals) + open_visits

    def final_totals(self) -> list[FilterCounts]:
        """Return each filter's counts of all visits that are closed; undecodable are seen too."""
        return [
            replace(total, seen=total.seen + self.undecodable, undecodable=self.undecodable)
            for total in self.totals
        ]
