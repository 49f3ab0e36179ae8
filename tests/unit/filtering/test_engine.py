"""The engine: decoded alerts in, decisions out."""

from __future__ import annotations

import itertools
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from aiokafka import TopicPartition

from alertstream.alert.alert import Alert
from alertstream.filtering import watchdog
from alertstream.filtering.account import Decided, FilterAccount, FilterCounts
from alertstream.filtering.caps import Claim, VisitCaps
from alertstream.filtering.engine import JUDGING_TIMEOUT, FilterEngine
from alertstream.filtering.filters import AlertFilter, MirrorFilter
from alertstream.kafka.messages import Copy, Message
from alertstream.reading.decoder import ReceivedAlert, Undecodable

SOURCE = TopicPartition("alerts", 0)


class Bright(AlertFilter):
    """Passes high fluxes."""

    def passes(self, alert: Alert) -> bool:
        return alert.flux > 10


class Everything(AlertFilter):
    """Passes everything."""

    def passes(self, alert: Alert) -> bool:
        return True


class Fails(AlertFilter):
    """Has a bug."""

    def passes(self, alert: Alert) -> bool:
        return bool(1 / 0)


def alert(
    offset: int,
    flux: float = 20.0,
    visit: int | None = 7,
    partition: int = 0,
    size: int = 100,
    source: int | None = None,
) -> ReceivedAlert:
    message = Message("alerts", partition, offset, 1000, None, b"x" * size)
    fields = {"visit": visit, "psfFlux": flux, "diaSourceId": source}
    return ReceivedAlert({"diaSource": fields}, message)


def undecodable(offset: int, topic: str = "alerts") -> Undecodable:
    return Undecodable(Message(topic, 0, offset, 1000, None, b"junk"), "cut short")


def engine_of(
    *filters: AlertFilter, cap: int = 20, notices: list[str] | None = None, unique: bool = False
) -> tuple[FilterEngine, VisitCaps]:
    caps = VisitCaps([each.topic for each in filters], cap, unique=unique)
    told = [] if notices is None else notices
    return FilterEngine(filters, caps, told.append), caps


def decided(
    engine: FilterEngine, caps: VisitCaps, messages: Iterable[ReceivedAlert | Undecodable]
) -> Decided:
    """What is decided if nobody else claims anything."""
    (judged,) = engine.judge(messages)
    caps.apply(judged.claims)
    return engine.decide(judged)


def places(copies: Iterable[Copy]) -> list[tuple[str, int]]:
    return [(copy.topic, copy.message.offset) for copy in copies]


def test_what_passes_goes_unchanged_to_the_topic_of_each_filter() -> None:
    messages = [alert(4), alert(5, flux=1.0), alert(6)]
    found = decided(*engine_of(Bright(), Everything()), messages)
    assert places(found.copies) == [
        ("Bright", 4),
        ("Everything", 4),
        ("Everything", 5),
        ("Bright", 6),
        ("Everything", 6),
    ]
    assert all(copy.message is messages[copy.message.offset - 4].message for copy in found.copies)
    assert [*found.counts()] == [
        FilterCounts("Bright", 7, 3, 2),
        FilterCounts("Everything", 7, 3, 3),
    ]
    assert [each.rejected for each in found.counts()] == [1, 0]


def test_offsets_go_on_after_the_last_message_with_where_claims_begin() -> None:
    engine, caps = engine_of(Bright())
    caps.begin(40)
    (judged,) = engine.judge([alert(4), alert(9, partition=1), alert(5)])
    caps.apply(judged.claims, at=41)
    kept = f'{{"visit_caps": 41, "log": "", "filters": "{caps.keys[0]}"}}'
    assert engine.decide(judged).offsets == {
        SOURCE: (6, kept),
        TopicPartition("alerts", 1): (10, kept),
    }


def test_sizes_count_each_copy_but_each_message_in_memory_once() -> None:
    messages = [alert(0, size=1000), alert(1, flux=1.0, size=10), undecodable(2)]
    found = decided(*engine_of(Bright(), Everything()), messages)
    assert (found.copied_bytes, found.held_bytes) == (2014, 1014)


def test_undecodable_messages_are_dead_lettered_once() -> None:
    engine, caps = engine_of(Bright())
    found = decided(engine, caps, [undecodable(0), alert(1), undecodable(2)])
    assert [(copy.topic, copy.reason) for copy in found.copies] == [
        ("alerts-undecodable", "cut short"),
        ("alerts-undecodable", "cut short"),
        ("Bright", None),
    ]
    assert found.undecodable == {"Bright": 2}
    assert [*found.counts()] == [FilterCounts("Bright", 7, 1, 1)]
    again = decided(engine, caps, [undecodable(0, "alerts-undecodable")])
    assert (again.undecodable, again.copies) == ({"Bright": 1}, [])
    assert [at for at, _ in again.offsets.values()] == [1]


def test_a_mirror_passes_everything_or_everything_of_a_visit() -> None:
    messages = [alert(0), alert(1, flux=1.0, visit=8), alert(2, visit=None)]
    found = decided(*engine_of(MirrorFilter("copies"), MirrorFilter("seven", 7), cap=0), messages)
    assert places(found.copies) == [("copies", 0), ("seven", 0), ("copies", 1), ("copies", 2)]
    found = decided(*engine_of(MirrorFilter("al*"), cap=0), messages[:1])
    assert places(found.copies) == [("alerts", 0)]


def test_a_cap_counts_by_visit_and_filter() -> None:
    engine, caps = engine_of(Bright(), Everything(), cap=2)
    messages = [*map(alert, range(3)), alert(3, 1.0), alert(4, visit=8), alert(5, visit=None)]
    found = decided(engine, caps, messages)
    assert [each for each in found.counts() if each.filter == "Bright"] == [
        FilterCounts("Bright", 7, 4, 2, 1),
        FilterCounts("Bright", 8, 1, 1),
        FilterCounts("Bright", None, 1, 1),
    ]
    assert [offset for topic, offset in places(found.copies) if topic == "Everything"] == [
        *(0, 1, 4, 5)
    ]


def test_nothing_is_claimed_once_a_cap_is_reached() -> None:
    engine, caps = engine_of(Bright(), Everything(), cap=2)
    (judged,) = engine.judge([alert(0), alert(1, flux=1.0)])
    assert judged.claims == [Claim(7, "alerts", 0, 0, 0b11), Claim(7, "alerts", 0, 1, 0b10)]
    caps.apply(judged.claims)
    engine.decide(judged)
    (judged,) = engine.judge([alert(2)])
    assert judged.claims == [Claim(7, "alerts", 0, 2, 0b01)]
    caps.apply(judged.claims)
    (judged,) = engine.judge([alert(3)])
    assert (judged.claims, judged.size) == ([], 0)
    assert [each.capped for each in engine.decide(judged).counts()] == [1, 1]


def test_without_a_cap_nothing_is_claimed() -> None:
    engine, _ = engine_of(Everything(), cap=0)
    (judged,) = engine.judge(map(alert, range(100)))
    assert judged.claims == []
    assert len(engine.decide(judged).copies) == 100


def test_alerts_that_others_have_claimed_first_take_the_places() -> None:
    engine, caps = engine_of(Everything(), cap=2)
    (judged,) = engine.judge([alert(0), alert(1)])
    caps.apply([Claim(7, "alerts", 3, 5, 1)], at=0)
    caps.apply(judged.claims, at=1)
    found = engine.decide(judged)
    assert places(found.copies) == [("Everything", 0)]
    assert [*found.counts()] == [FilterCounts("Everything", 7, 2, 1, 1)]


def test_alerts_that_are_read_again_have_their_places() -> None:
    engine, caps = engine_of(Everything(), cap=2)
    first = decided(engine, caps, map(alert, range(3)))
    again = decided(engine, caps, map(alert, range(3)))
    assert places(again.copies) == places(first.copies) == [("Everything", 0), ("Everything", 1)]
    assert [*again.counts()] == [*first.counts()]


def test_a_filter_that_fails_is_counted_and_reported_once() -> None:
    notices: list[str] = []
    found = decided(*engine_of(Fails(), Everything(), notices=notices), map(alert, range(3)))
    assert [*found.counts()] == [
        FilterCounts("Fails", 7, 3, failed=3),
        FilterCounts("Everything", 7, 3, 3),
    ]
    assert next(iter(found.counts())).rejected == 0
    (notice,) = notices
    assert notice.startswith("Fails raised an error on an alert; it failed: ")
    assert "ZeroDivisionError: division by zero (line " in notice


class Says(AlertFilter):
    """Answers with what it is made with."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def passes(self, alert: Alert) -> bool:
        answer: bool = self.answer
        return answer


@pytest.mark.parametrize(
    ("answer", "passed", "told"),
    [
        (None, 0, "Says.passes returned None, which counts as false: return True or False"),
        ("no", 2, "Says.passes returned 'no', which counts as true: return True or False"),
        *((1, 2, ""), (0, 0, ""), ([], 0, ""), (np.True_, 2, ""), (np.False_, 0, "")),
    ],
)
def test_an_answer_that_is_none_or_text_is_told_once(answer: Any, passed: int, told: str) -> None:
    notices: list[str] = []
    found = decided(*engine_of(Says(answer), notices=notices), [alert(0), alert(1)])
    assert (len(found.copies), notices) == (passed, [told] * bool(told))


def test_portions_end_when_their_copies_are_large() -> None:
    engine, _ = engine_of(Everything(), Bright(), cap=0)
    portions = engine.judge([alert(0), alert(1, flux=1.0), alert(2), alert(3)], max_size=300)
    assert [[each.offset for each in judged.messages] for judged in portions] == [[0, 1], [2, 3]]


def test_portions_end_when_judging_takes_long() -> None:
    ticks = itertools.count(step=JUDGING_TIMEOUT / 2)
    engine = FilterEngine([Everything()], VisitCaps(["Everything"], 0), now=lambda: next(ticks))
    portions = engine.judge(map(alert, range(7)))
    assert [len(judged.messages) for judged in portions] == [3, 3, 1]


def test_nothing_gives_no_portion() -> None:
    assert list(engine_of(Everything())[0].judge([])) == []


class Member:
    """A member of a group whose members share a log of claims."""

    def __init__(
        self, filters: Sequence[AlertFilter], cap: int, log: list[bytes], unique: bool = False
    ) -> None:
        self.caps = VisitCaps([each.topic for each in filters], cap, unique=unique)
        self.engine = FilterEngine(filters, self.caps)
        self.log, self.next = log, 0

    def filter(self, messages: Iterable[ReceivedAlert | Undecodable]) -> list[Decided]:
        found = []
        for judged in self.engine.judge(messages, max_size=500):
            if judged.claims:
                self.log.append(self.caps.encode(judged.claims))
                for at in range(self.next, len(self.log)):
                    self.caps.apply(self.caps.decode(self.log[at]), at)
                self.next = len(self.log)
            found.append(self.engine.decide(judged))
        return found


def written_by_members(
    rng: random.Random,
    filters: Sequence[AlertFilter],
    messages: Callable[[int, int], ReceivedAlert],
    cap: int,
    unique: bool = False,
) -> tuple[list[ReceivedAlert], list[Copy], FilterAccount]:
    """What two members read, write and count of three partitions, though they read again."""
    waiting = {each: [messages(each, offset) for offset in range(40)] for each in range(3)}
    read, log = list(itertools.chain.from_iterable(waiting.values())), list[bytes]()
    members = [Member(filters, cap, log, unique) for _ in range(2)]
    account = FilterAccount([each.topic for each in filters])
    written: list[Copy] = []
    while any(waiting.values()):
        partition = rng.choice([each for each, left in waiting.items() if left])
        batch = waiting[partition][: rng.randint(1, 12)]
        member = rng.randrange(2)
        decisions = members[member].filter(batch)
        if rng.random() < 0.5:
            # What it has claimed is not written; it may go on, or crash and be another one.
            if rng.random() < 0.5:
                members[member] = Member(filters, cap, log, unique)
            continue
        del waiting[partition][: len(batch)]
        for each in decisions:
            written += each.copies
            account.add(each.counts(), each.undecodable)
    return read, written, account


@pytest.mark.parametrize("seed", range(20))
def test_a_cap_is_one_over_members_that_crash_and_read_again(seed: int) -> None:
    rng = random.Random(seed)
    filters, cap = [Bright(), Everything(), Fails()], rng.randint(1, 8)

    def message(partition: int, offset: int) -> ReceivedAlert:
        return alert(offset, rng.choice([1.0, 20.0]), rng.choice([7, 8, None]), partition)

    read, written, account = written_by_members(rng, filters, message, cap)
    wanted = Counter(
        (each.topic, one.visit) for one in read for each in filters[:2] if each.passes(one)
    )
    for each in account.close_visits(all_of_them=True):
        assert each.passed == min(cap, wanted[each.filter, each.visit])
        assert each.passed + each.capped == wanted[each.filter, each.visit]
    assert [each.seen for each in account.totals()] == [120] * 3
    assert len(written) == len({(copy.topic, copy.message[:3]) for copy in written})
    assert Counter(copy.topic for copy in written) == Counter(
        {each.filter: each.passed for each in account.totals() if each.passed}
    )


@pytest.mark.parametrize("cap", [0, 3])
def test_of_duplicates_one_passes_and_takes_one_place_of_the_cap(cap: int) -> None:
    engine, caps = engine_of(Bright(), Everything(), cap=cap, unique=True)
    messages = [alert(n, source=source) for n, source in enumerate([5, 5, 6, 0, 0])]
    messages += [alert(5, flux=1.0, source=6), alert(0, partition=1, source=5)]
    found = decided(engine, caps, messages)
    passed = [offset for topic, offset in places(found.copies) if topic == "Everything"]
    assert passed == ([0, 2, 3] if cap else [0, 2, 3, 4])
    bright, everything = found.counts()
    assert (bright.duplicate, everything.duplicate) == (2, 3)
    assert (bright.rejected, everything.rejected) == (1, 0)
    assert bright.capped == everything.capped == (1 if cap else 0)
    # Of what is known to be a duplicate nothing is claimed, and read again it is the same.
    (judged,) = engine.judge(messages)
    assert [*engine.decide(judged).counts()] == [bright, everything]
    (judged,) = engine.judge([alert(9, source=5)])
    assert (judged.claims, judged.size) == ([], 0)


@pytest.mark.parametrize("seed", range(10))
def test_one_of_duplicates_passes_over_members_that_crash_and_read_again(seed: int) -> None:
    rng, filters = random.Random(seed), [Bright(), Everything()]

    def message(partition: int, offset: int) -> ReceivedAlert:
        source = rng.randrange(50)
        return alert(offset, 20.0 * (source % 2), 7, partition, source=source)

    every, written, account = written_by_members(rng, filters, message, cap=0, unique=True)
    ids = {each.message[:3]: each.source_id for each in every}
    for each, total in zip(filters, account.totals(), strict=True):
        wanted = [read.source_id for read in every if each.passes(read)]
        got = [ids[copy.message[:3]] for copy in written if copy.topic == each.topic]
        assert Counter(got) == Counter({*wanted}) + Counter({0: wanted.count(0) - 1})
        assert (total.seen, total.passed) == (120, len(got))
        assert total.duplicate == len(wanted) - len(got)


class Loops(AlertFilter):
    """Does not come to an end with some alerts."""

    def passes(self, alert: Alert) -> bool:
        while alert.flux > 10:
            pass
        return True


class Sleeps(AlertFilter):
    """Waits for something."""

    def passes(self, alert: Alert) -> bool:
        time.sleep(100)
        return True


class Matches(AlertFilter):
    """Has an expression that is tried in 2 ** 60 ways."""

    def passes(self, alert: Alert) -> bool:
        return bool(re.match("(a+)+b", "a" * 60))


class Retries(AlertFilter):
    """Takes no exception for an answer."""

    def passes(self, alert: Alert) -> bool:
        while True:
            with suppress(Exception):
                alert["it is not there"]


@pytest.mark.hostile("6: a filter with an endless loop, and others that do not return")
@pytest.mark.parametrize("kind", [Loops, Sleeps, Matches, Retries])
def test_filter_that_does_not_return(
    kind: type[AlertFilter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "SLOW_TIMEOUT", 0.1)
    monkeypatch.setattr(watchdog, "FILTER_TIMEOUT", 0.2)
    monkeypatch.setattr(watchdog, "TICK", 0.02)
    told: list[str] = []
    engine, caps = engine_of(Everything(), kind(), Everything(), notices=told)
    begin = time.monotonic()
    found = [engine.decide(each) for each in engine.judge([alert(4), alert(5)])]
    assert time.monotonic() - begin < 5
    assert caps.cap
    counts = Counter[str]()
    for each in found:
        counts += Counter({f"{count.filter} failed": count.failed for count in each.counts()})
        counts += Counter({f"{count.filter} seen": count.seen for count in each.counts()})
    name = kind.__name__
    assert counts[f"{name} failed"] == counts[f"{name} seen"] == 2
    assert counts["Everything failed"] == 0
    assert told[0].startswith(f"{name} takes more than 0 s for one alert")
    assert told[1].startswith(f"{name} raised an error on an alert; it failed: ")
    assert "took too long for one alert (line " in told[1]
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_many_slow_filters_are_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "FILTER_TIMEOUT", 0.2)
    monkeypatch.setattr(watchdog, "TICK", 0.01)

    class Slow(AlertFilter):
        def passes(self, alert: Alert) -> bool:
            time.sleep(0.03)
            return True

    engine, _ = engine_of(*[Slow() for _ in range(20)])
    for judged in engine.judge([alert(4)]):
        assert not judged.failed


def test_what_takes_long_to_decode_is_not_blamed_on_a_filter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchdog, "FILTER_TIMEOUT", 0.05)
    monkeypatch.setattr(watchdog, "TICK", 0.01)

    def decoded() -> Iterable[ReceivedAlert]:
        for offset in (4, 5):
            yield alert(offset)
            time.sleep(0.2)

    for judged in engine_of(Everything())[0].judge(decoded()):
        assert not judged.failed
