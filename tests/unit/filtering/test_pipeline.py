"""The pipeline: what is read is filtered and written once, whatever fails in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import TopicPartition
from tests.support import samples
from tests.support.destination import Recorded

from alertstream.avro.container.file import ContainerFile
from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import pack
from alertstream.errors import BrokerError, DeliveryError
from alertstream.filtering.account import FilterAccount, FilterCounts
from alertstream.filtering.caps import NOT_VALID, OTHERS, Claim, VisitCaps, filter_key
from alertstream.filtering.engine import FilterEngine
from alertstream.filtering.expression import WhereFilter
from alertstream.filtering.filter_offsets import FilterOffsets
from alertstream.filtering.pipeline import FilterPipeline, Pace, alert_decoder
from alertstream.filtering.shared_caps import SharedCaps
from alertstream.filtering.writer import TransactionalWriter
from alertstream.kafka.group_log import LogReplacedError
from alertstream.kafka.messages import ConsumerGroupMetadata, Message, Offsets

MEMBER = ConsumerGroupMetadata("group", 1, "member")
SOURCE = TopicPartition("alerts", 0)


def alerts(count: int) -> list[Message]:
    """An official alert, so many times."""
    with ContainerFile(samples.sample_file("10.0")) as container:
        value = pack(1000, next(iter(container)))
    return [Message("alerts", 0, offset, 1000, None, value) for offset in range(count)]


def visit_of(message: Message) -> int | None:
    alert: Any = alert_decoder([], Schemas(), lambda text: None).decode(message)
    visit: int | None = alert.visit
    return visit


class Consumed:
    """Stands for our consumer: yields batches from where the group's offset is."""

    def __init__(self, messages: Sequence[Message], size: int, to: Recorded) -> None:
        self.messages, self.size, self.to = messages, size, to
        self.group_metadata: ConsumerGroupMetadata | None = MEMBER
        self.outdated = False
        self.kept: list[tuple[str, set[TopicPartition]]] = []
        self.metadata: dict[TopicPartition, str] = {}

    async def batches(
        self, stop: asyncio.Event, before_rebalance: Callable[[], Awaitable[None]], **more: Any
    ) -> AsyncIterator[list[Message]]:
        begin = self.to.transactions[-1][1][SOURCE][0] if self.to.transactions else 0
        for start in range(begin, len(self.messages), self.size):
            yield list(self.messages[start : start + self.size])
        yield []

    def is_outdated(self, metadata: ConsumerGroupMetadata | None) -> bool:
        return self.outdated

    async def committed(self) -> Offsets:
        return {each: (0, text) for each, text in self.metadata.items()}

    def assignment(self) -> set[TopicPartition]:
        return {SOURCE}

    async def keep(
        self, text: Callable[[TopicPartition, int], str], partitions: set[TopicPartition]
    ) -> None:
        self.kept.append((text(SOURCE, 0), partitions))


FILTERS = f'"filters": "{filter_key("Everything")}"'
KEPT = f'{{"visit_caps": 1, "log": "one", {FILTERS}}}'
"""What members keep with offsets: where the claims that count begin, in which log; filters."""


class Log:
    """Stands for a group's log: others' claims come before one's own."""

    partition = TopicPartition("group-visit-caps", 0)

    def __init__(self, *entries: bytes) -> None:
        self.entries = list(entries)
        self.next = len(entries)
        self.id = "one"
        self.is_empty = not entries
        self.replaced = False

    def seek(self, offset: int) -> None:
        self.next = offset

    async def append(self, value: bytes) -> list[tuple[int, bytes]]:
        if self.replaced:
            self.replaced, self.next, self.id, self.entries = False, 0, "two", []
            raise LogReplacedError("made anew", retriable=True)
        self.entries.append(value)
        found = [*enumerate(self.entries)][self.next :]
        self.next = len(self.entries)
        return found


class Case:
    """A pipeline with one filter, and what it has to do with."""

    def __init__(self, messages: Sequence[Message], size: int = 4, cap: int = 0) -> None:
        filters = [WhereFilter("ra >= 0", "Everything")]
        self.caps = VisitCaps(["Everything"], cap)
        self.offsets = FilterOffsets(["Everything"], self.caps.keys)
        self.to, self.notices = Recorded(), list[str]()
        self.consumer: Any = Consumed(messages, size, self.to)
        self.reported: list[Sequence[FilterCounts]] = []
        self.account = FilterAccount(["Everything"])
        self.parts: dict[str, Any] = {
            "consumer": self.consumer,
            "decoder": alert_decoder(filters, Schemas(), self.notices.append),
            "engine": FilterEngine(filters, self.caps, self.notices.append),
            "caps": None,
            "writer": TransactionalWriter(
                self.to, lambda each: self.account.add(each.counts(), each.undecodable)
            ),
            "account": self.account,
            "stop": self.to.stop,
            "notice": self.notices.append,
            "report": self.report,
            "pace": Pace(0),
        }

    async def report(self, counts: Sequence[FilterCounts]) -> None:
        self.reported.append(counts)

    def run(self, log: Log | None = None) -> FilterCounts:
        if log is not None:
            shared: Any = SharedCaps(self.caps, log, self.offsets, self.notices.append)  # type: ignore[arg-type]
            self.parts["caps"] = shared

        async def main() -> list[FilterCounts]:
            async with asyncio.timeout(10):
                return await FilterPipeline(**self.parts).run()

        (total,) = asyncio.run(main())
        return total

    @property
    def copied(self) -> list[int]:
        return [offset for copied, _, _ in self.to.transactions for offset in copied]


def test_what_is_read_is_written_counted_and_reported() -> None:
    case = Case([*alerts(9), Message("alerts", 0, 9, 1000, None, b"junk")])
    total = case.run()
    assert total.seconds > 0
    assert replace(total, seconds=0) == FilterCounts("Everything", None, 10, 9, 0, 1, final=True)
    assert sorted(case.copied) == list(range(10))
    assert case.to.transactions[-1][1:] == ({SOURCE: (10, f"{{{FILTERS}}}")}, MEMBER)
    (counts,) = case.reported
    assert [(each.seen, each.passed, each.undecodable) for each in counts] == [(9, 9, 0)]
    (notice,) = case.notices
    assert notice.startswith("undecodable message: ")


@pytest.mark.parametrize("failures", [1, 3])
def test_what_could_not_be_written_is_read_again_and_counted_once(failures: int) -> None:
    case = Case(alerts(20))
    error = DeliveryError("Kafka timed out", retriable=True)
    case.to.failures = [error] * failures
    total = case.run()
    assert (total.seen, total.passed) == (20, 20)
    assert case.copied == list(range(20))
    assert case.notices == ["Kafka timed out; what was not committed is read again"] * failures
    assert case.to.restarts == failures


def test_what_is_refused_for_good_ends_it() -> None:
    case = Case(alerts(4))
    case.to.failures = [DeliveryError("too large")]
    with pytest.raises(DeliveryError, match="too large"):
        case.run()
    assert (case.copied, case.account.totals()[0].seen) == ([], 0)


def test_other_errors_end_it_after_the_transaction_under_way() -> None:
    case = Case(alerts(8))

    async def fail(messages: object, stop: object) -> bool:
        if case.parts["writer"]._writing is None:
            return True
        raise BrokerError("the registry is gone")

    case.parts["decoder"].ready = fail
    with pytest.raises(BrokerError):
        case.run()
    assert case.copied == [0, 1, 2, 3]


def test_members_of_a_group_share_a_cap() -> None:
    case = Case(alerts(9), cap=3)
    visit = visit_of(alerts(1)[0])
    claims = [Claim(visit, "alerts", 1, offset, 1) for offset in (90, 91)]
    log = Log(case.caps.encode([]), case.caps.encode(claims))
    case.consumer.metadata = {TopicPartition("alerts", 1): KEPT}
    total = case.run(log)
    assert (total.seen, total.passed, total.capped) == (9, 1, 8)
    assert case.copied == [0]
    # Partitions that are new to the group get where its claims begin.
    assert case.consumer.kept == [(KEPT, {SOURCE})]
    assert case.to.transactions[-1][1] == {SOURCE: (9, KEPT)}


def test_alerts_that_were_claimed_and_not_written_keep_their_places() -> None:
    case = Case(alerts(9), cap=3)
    case.to.failures = [DeliveryError("Kafka timed out", retriable=True)]
    total = case.run(Log())
    assert (total.seen, total.passed, total.capped) == (9, 3, 6)
    assert case.copied == [0, 1, 2]


@pytest.mark.hostile("3: caps' topic deleted and recreated under a running filter")
def test_in_a_log_that_is_made_anew_alerts_are_claimed_anew() -> None:
    case = Case(alerts(9), size=3, cap=3)
    log = Log(case.caps.encode([Claim(7, "alerts", 1, 90, 1)]))
    log.replaced = True
    case.consumer.metadata = {SOURCE: '{"visit_caps": 0, "log": "zero"}'}
    total = case.run(log)
    assert (total.seen, total.passed, total.capped) == (9, 3, 6)
    assert case.copied == [0, 1, 2]
    assert case.notices == [
        "group-visit-caps was deleted and recreated: caps count what is there",
        "made anew; what was not committed is read again",
    ]
    assert case.to.transactions[-1][1] == {
        SOURCE: (9, KEPT.replace("1", "0").replace("one", "two"))
    }


@pytest.mark.hostile("14: caps that count anew, as the group has no offsets any more")
def test_a_group_without_offsets_is_told_that_its_claims_do_not_count() -> None:
    case = Case(alerts(4), cap=3)
    visit = visit_of(alerts(1)[0])
    claims = [Claim(visit, "alerts", 1, offset, 1) for offset in (90, 91)]
    assert case.run(Log(case.caps.encode(claims))).passed == 3
    (notice,) = case.notices
    assert notice.startswith("the group has no offsets any more: ")


@pytest.mark.hostile("14: caps that count anew, as --cap has changed")
def test_claims_that_do_not_count_are_told_of_once() -> None:
    case = Case(alerts(9), cap=3)
    others = VisitCaps(["Everything"], 5).encode([Claim(7, "alerts", 1, 90, 1)])
    log = Log(others, others, b"junk")
    case.consumer.metadata = {SOURCE: '{"visit_caps": 0, "log": "one"}'}
    assert case.run(log).passed == 3
    assert case.notices == [f"{OTHERS} · group-visit-caps@0", f"{NOT_VALID} · group-visit-caps@2"]


def test_partitions_that_are_reassigned_meanwhile_are_left_to_others() -> None:
    case = Case(alerts(9), cap=3)
    case.consumer.outdated = True
    total = case.run(Log())
    assert (total.seen, case.copied) == (0, [])


def test_a_rate_is_kept_in_steps_that_leave_the_group_alive() -> None:
    pace, stop, begin = Pace(1000), asyncio.Event(), time.monotonic()
    assert (pace.max_messages, Pace(0.5).max_messages, Pace(0).max_messages) == (100, 1, None)

    async def main() -> None:
        for _ in range(5):
            await pace.keep(50, stop)
        assert 0.1 < time.monotonic() - begin < 2
        await Pace(0).keep(10**9, stop)
        stop.set()
        await pace.keep(10**9, stop)

    asyncio.run(main())
    assert time.monotonic() - begin < 5


def test_fields_that_a_schema_lacks_are_reported_once() -> None:
    notices: list[str] = []
    filters = [WhereFilter("candidate.magpsf < 20 and diaSource.snr > 1 and snr > 2", "X")]
    decoder = alert_decoder(filters, Schemas(), notices.append)
    for message in alerts(2):
        decoder.decode(message)
    assert notices == [
        "lsst.v10_0.alert has no candidate.magpsf: for its alerts, filters see None there"
    ]
