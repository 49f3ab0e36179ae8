"""The writer: what goes into one transaction, and what becomes of it when that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from tests.support.destination import Recorded

from alertstream.errors import DeliveryError
from alertstream.filtering.account import Decided
from alertstream.filtering.writer import (
    MAX_HELD,
    MAX_REJECTIONS,
    MAX_TRANSACTION,
    MIN_TRANSACTION,
    Destination,
    TransactionalWriter,
)
from alertstream.kafka.connection import Connection
from alertstream.kafka.messages import ConsumerGroupMetadata, Copy, Message, Positions
from alertstream.kafka.topics import Topic, TopicLayout
from alertstream.system.cancellation import SHUTDOWN_TIMEOUT

MEMBER = ConsumerGroupMetadata("group", 3, "member")
SOURCE = TopicPartition("alerts", 0)


def decision(offset: int, copies: int = 1, value: bytes = b"alert") -> Decided:
    """What follows from one message that goes to so many topics."""
    message = Message("alerts", 0, offset, 1000, None, value)
    topics = [Copy(f"Filter{number:03}", message) for number in range(1, copies + 1)]
    return Decided(topics, {SOURCE: (offset + 1, "")}, list)


class Case:
    """A writer, where it writes to, and what it says is written."""

    def __init__(self) -> None:
        self.to = Recorded()
        self.written: list[Decided] = []
        self.writer = TransactionalWriter(self.to, self.written.append)

    @property
    def copied(self) -> list[list[int]]:
        """Offsets of the messages that each transaction has copies of."""
        return [copied for copied, _, _ in self.to.transactions]


def run(test: Callable[[Case], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await test(Case())

    asyncio.run(main())


def test_what_comes_during_a_transaction_goes_into_the_next_one() -> None:
    async def test(case: Case) -> None:
        case.to.go_on.clear()
        decisions = [decision(0), decision(1), decision(2, copies=0), decision(3, copies=2)]
        for each in decisions:
            await case.writer.write(each, MEMBER)
        assert case.copied == [] and case.written == []
        case.to.go_on.set()
        await case.writer.flush()
        assert case.copied == [[0], [1, 3, 3]]
        assert [offsets for _, offsets, _ in case.to.transactions] == [
            {SOURCE: (1, "")},
            {SOURCE: (4, "")},
        ]
        assert case.written == decisions

    run(test)


def test_offsets_without_copies_wait_for_the_next_flush() -> None:
    async def test(case: Case) -> None:
        for offset in range(3):
            await case.writer.write(decision(offset, copies=0), MEMBER)
        await asyncio.sleep(0.01)
        assert case.to.transactions == []
        await case.writer.flush()
        assert case.to.transactions == [([], {SOURCE: (3, "")}, MEMBER)]
        await case.writer.flush()
        assert len(case.to.transactions) == 1 and len(case.written) == 3

    run(test)


def test_what_is_read_under_another_assignment_is_not_written_with_it() -> None:
    async def test(case: Case) -> None:
        later = ConsumerGroupMetadata("group", 3, "member", assignment=1)
        case.to.go_on.clear()
        for offset, metadata in enumerate((MEMBER, MEMBER, MEMBER, later)):
            await case.writer.write(decision(offset), metadata)
        case.to.go_on.set()
        await case.writer.flush()
        assert case.copied == [[0], [1, 2], [3]]
        assert [metadata for _, _, metadata in case.to.transactions] == [MEMBER, MEMBER, later]

    run(test)


def test_a_transaction_has_a_bounded_size() -> None:
    async def test(case: Case) -> None:
        third = bytes(MAX_TRANSACTION // 3)
        case.to.go_on.clear()
        await case.writer.write(decision(0, copies=5, value=third), MEMBER)
        for offset in range(1, 5):
            await case.writer.write(decision(offset, value=third if offset < 3 else b""), MEMBER)
        case.to.go_on.set()
        await case.writer.write(decision(5, value=third), MEMBER)
        await case.writer.write(decision(6, value=third), MEMBER)
        await case.writer.flush()
        # One decision that is larger is written all the same.
        assert case.copied == [[0] * 5, [1, 2, 3, 4, 5], [6]]

    run(test)


def test_writing_waits_when_too_much_is_in_memory() -> None:
    async def test(case: Case) -> None:
        case.to.go_on.clear()
        half = bytes(MAX_HELD // 2)
        await case.writer.write(decision(0, copies=9, value=half), MEMBER)
        await case.writer.write(decision(1, copies=9, value=half), MEMBER)
        waiting = asyncio.create_task(case.writer.write(decision(2), MEMBER))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        case.to.go_on.set()
        await waiting
        assert case.copied[0] == [0] * 9

    run(test)


def test_what_fails_is_not_counted_and_is_forgotten_by_a_restart() -> None:
    async def test(case: Case) -> None:
        failure = DeliveryError("Kafka timed out", retriable=True)
        case.to.failures = [failure]
        await case.writer.write(decision(0), MEMBER)
        await asyncio.sleep(0.01)
        with pytest.raises(DeliveryError) as raised:
            await case.writer.write(decision(1), MEMBER)
        assert raised.value is failure and failure.retriable
        with pytest.raises(DeliveryError):
            await case.writer.flush()
        assert (case.to.transactions, case.written) == ([], [])
        await case.writer.restart()
        assert case.to.restarts == 1
        await case.writer.write(decision(0), MEMBER)
        await case.writer.flush()
        assert case.copied == [[0]] and len(case.written) == 1

    run(test)


def test_what_fails_before_a_rebalance_is_raised_by_the_next_call() -> None:
    async def test(case: Case) -> None:
        await case.writer.write(decision(0, copies=0), MEMBER)
        case.to.failures = [DeliveryError("fenced", retriable=True)]
        await case.writer.flush_quietly()
        with pytest.raises(DeliveryError, match="fenced"):
            await case.writer.flush()

    run(test)


def test_transactions_are_smaller_after_a_timeout_and_grow_again() -> None:
    async def test(case: Case) -> None:
        for halvings in (1, 2, 9):
            case.to.failures = [DeliveryError("Kafka timed out", retriable=True)] * halvings
            for _ in range(halvings):
                await case.writer.write(decision(0), MEMBER)
                with pytest.raises(DeliveryError):
                    await case.writer.flush()
                await case.writer.restart()
            assert case.writer.max_size == max(MAX_TRANSACTION // 2**halvings, MIN_TRANSACTION)
            for _ in range(6):
                await case.writer.write(decision(0), MEMBER)
                await case.writer.flush()
            assert case.writer.max_size == MAX_TRANSACTION

    run(test)


def test_kafka_may_reject_only_so_often_in_a_row() -> None:
    async def test(case: Case) -> None:
        async def reject(times: int) -> list[bool]:
            retriable = []
            for _ in range(times):
                case.to.failures = [DeliveryError("no right", retriable=True, refused=True)]
                await case.writer.write(decision(0), MEMBER)
                with pytest.raises(DeliveryError) as raised:
                    await case.writer.flush()
                retriable.append(raised.value.retriable)
                await case.writer.restart()
            return retriable

        assert all(await reject(MAX_REJECTIONS - 1))
        await case.writer.write(decision(0), MEMBER)
        await case.writer.flush()
        assert await reject(MAX_REJECTIONS) == [True] * (MAX_REJECTIONS - 1) + [False]
        assert case.writer.max_size == MAX_TRANSACTION

    run(test)


def test_giving_up_lets_the_transaction_end() -> None:
    async def test(case: Case) -> None:
        await case.writer.give_up()
        case.to.go_on.clear()
        await case.writer.write(decision(0), MEMBER)
        giving_up = asyncio.create_task(case.writer.give_up())
        await asyncio.sleep(0.01)
        assert not giving_up.done()
        case.to.go_on.set()
        await giving_up
        assert case.copied == [[0]]

    run(test)


class Clients:
    """Stands for our producer and consumer: records in which order they are called."""

    def __init__(self, outdated: bool = False) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.outdated = outdated
        self.positions = Positions()

    def is_outdated(self, metadata: ConsumerGroupMetadata) -> bool:
        return self.outdated

    async def send_and_commit(self, *arguments: object) -> None:
        self.calls.append(("send_and_commit", *arguments))

    async def send_copies(self, *arguments: object) -> None:
        self.calls.append(("send_copies", *arguments))

    async def commit(self, *arguments: object) -> None:
        self.calls.append(("commit", *arguments))

    def grace(self) -> float:
        return SHUTDOWN_TIMEOUT

    async def restart_when_possible(self) -> None:
        self.calls.append(("restart_when_possible",))

    async def rewind(self) -> None:
        self.calls.append(("rewind",))


def destination(clients: Any, exactly_once: bool) -> Destination:
    topics = {"Filter001": Topic("Filter001", 1)}
    return Destination(
        Connection("host:9092"),
        clients,
        clients,
        TopicLayout(),
        topics,
        exactly_once,
        asyncio.Event(),
    )


def test_exactly_once_is_copies_and_offsets_in_one_transaction() -> None:
    clients, each = Clients(), decision(0)
    to = destination(clients, exactly_once=True)
    asyncio.run(to.write(each.copies, each.offsets, MEMBER))
    assert clients.calls == [("send_and_commit", each.copies, to.topics, each.offsets, MEMBER)]


def test_at_least_once_moves_offsets_after_copies_are_written() -> None:
    clients, each = Clients(), decision(0)
    to = destination(clients, exactly_once=False)
    asyncio.run(to.write(each.copies, each.offsets, MEMBER))
    assert clients.calls == [("send_copies", each.copies, to.topics), ("commit", each.offsets)]


def test_nothing_is_written_for_partitions_that_were_reassigned() -> None:
    clients, each = Clients(outdated=True), decision(0)
    to = destination(clients, exactly_once=True)
    with pytest.raises(DeliveryError, match="partitions were reassigned") as raised:
        asyncio.run(to.write(each.copies, each.offsets, MEMBER))
    assert raised.value.retriable and clients.calls == []


def test_a_restart_aborts_and_then_goes_back_to_what_is_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("alertstream.filtering.writer.RETRY_INTERVAL", 0)
    clients = Clients()
    to = destination(clients, exactly_once=True)
    asyncio.run(to.restart())
    assert clients.calls == [("restart_when_possible",), ("rewind",)]
    # A topic that was deleted meanwhile is made again.
    assert to.topics == {}
