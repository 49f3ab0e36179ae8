"""Judges messages by all filters at once, and keeps the account of what became of them.

What filters want of a message is known at once; what they get, when all that is claimed of its
visit is known: a judgement is decided then. It can be taken back, as long as it is not written:
when Kafka does not take what follows from it, its messages are read and judged again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from alertstream.alert.alert import Alert
from alertstream.alert.fields import missing_in
from alertstream.alert.surveys import QUANTITIES, field_paths
from alertstream.avro.schemas import Schema, Schemas, full_name
from alertstream.filtering.account import FilterAccount, FilterCounts
from alertstream.filtering.caps import Claim, VisitCaps, bits
from alertstream.filtering.filters import AlertFilter, error_line, union_of_fields
from alertstream.kafka.messages import Copy, Message, Offsets, next_offsets
from alertstream.kafka.topics import UNDECODABLE_SUFFIX
from alertstream.reading.decoder import AlertDecoder, ReceivedAlert, ReportedOnce, Undecodable
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
    decided. ``passed``, ``capped`` and ``failed`` are counted by visit and filter;
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
    failed: Counter[tuple[int | None, int]] = field(default_factory=Counter)

    def add_copies(self, message: Message, copies: Sequence[Copy]) -> None:
        """Add what is to be written of a message."""
        size = len(message.value or b"")
        self.copies += copies
        self.bytes += len(copies) * size
        self.held += size if copies else 0


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

    def __post_init__(self) -> None:
        filters = self.options.filters
        self.topics = [each.topic for each in filters]
        self.caps = VisitCaps(self.topics, self.options.cap)
        self.account = FilterAccount(self.topics)
        fields = union_of_fields(filters)
        paths = None if fields is None else field_paths([*fields, "visit"])
        self._paths = sorted({*(fields or ())} - QUANTITIES)
        self.decoder = AlertDecoder(self.schemas, paths, self.notice, self._tell_missing)
        self._report = ReportedOnce(self.notice)

    def judge(self, batch: Iterable[ReceivedAlert | Undecodable]) -> Iterator[Judgement]:
        """Yield what follows from the messages, in their order, in portions to be decided."""
        begin, judgement = self.clock.now(), Judgement()
        for alert in batch:
            self._judge(alert, judgement)
            judgement.offsets |= next_offsets((alert.message,))
            long = self.clock.now() - begin > JUDGING_LIMIT
            if judgement.bytes_wanted >= self.judged_together or long:
                yield judgement
                begin, judgement = self.clock.now(), Judgement()
        if judgement.offsets:
            yield judgement

    def _judge(self, alert: ReceivedAlert | Undecodable, judgement: Judgement) -> None:
        message = alert.message
        if isinstance(alert, Undecodable):
            judgement.undecodable += 1
            # What has been dead-lettered already stays where it is.
            if not message.topic.endswith(UNDECODABLE_SUFFIX):
                copy = Copy(f"{message.topic}{UNDECODABLE_SUFFIX}", message, alert.cause)
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
        return judgement

    def _passed_by(self, alert: Alert, judgement: Judgement) -> Iterator[int]:
        for index, each in enumerate(self.options.filters):
            try:
                if each.passes(alert):
                    yield index
            except Exception as error:
                judgement.failed[alert.visit, index] += 1
                cause = error_line(error)
                text = f"{each.topic} raised an error on an alert; the alert was rejected: {cause}"
                self._report(f"{each.topic} {cause}", text)

    def _tell_missing(self, schema: Schema) -> None:
        """Tell which fields that filters look at are missing in the alerts of a schema."""
        name, missing = full_name(schema), missing_in(schema, self._paths)
        if missing:
            text = f"{name} has no {', '.join(missing)}: for its alerts, filters see None there"
            self._report(f"{name} {missing}", text)

    def count(self, judgement: Judgement) -> None:
        """Add what has been written to the account."""
        self.account.undecodable += judgement.undecodable
        self.account.add(
            FilterCounts(
                topic,
                visit,
                seen,
                passed=judgement.passed[visit, index],
                capped=judgement.capped[visit, index],
                failed=judgement.failed[visit, index],
            )
            for visit, seen in judgement.seen.items()
            for index, topic in enumerate(self.topics)
        )
