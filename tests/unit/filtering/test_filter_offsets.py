"""A group whose filters change: each message is for each filter once, from where that begins."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition

from alertstream.alert.alert import Alert
from alertstream.errors import UsageError
from alertstream.filtering.account import Decided, FilterAccount
from alertstream.filtering.caps import VisitCaps
from alertstream.filtering.engine import FilterEngine
from alertstream.filtering.filter_offsets import MAX_FILTERS, FilterOffsets
from alertstream.filtering.filters import AlertFilter
from alertstream.kafka.messages import Message, Offsets
from alertstream.reading.decoder import ReceivedAlert, Undecodable

AT = TopicPartition("alerts", 0)
LENGTH = 40
BEGIN = 3
"""The oldest message that Kafka has."""
JUNK = 7
"""Every so manieth message is undecodable."""


class Passing(AlertFilter):
    """Passes everything."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def topic(self) -> str:
        return self.name

    def passes(self, alert: Alert) -> bool:
        return True


def message(offset: int) -> ReceivedAlert | Undecodable:
    found = Message(*AT, offset, 1000, None, b"x")
    if offset % JUNK == 0:
        return Undecodable(found, "cut short")
    return ReceivedAlert({"diaSource": {"visit": 7}}, found)


class Group:
    """A group of one partition: its offset, and what was written and counted with that."""

    def __init__(self) -> None:
        self.offsets: Offsets = {AT: (BEGIN, "")}
        self.written: Counter[tuple[str, int]] = Counter()
        self.undecodable: Counter[int] = Counter()
        self.notices: list[str] = []
        self.account = FilterAccount([])

    def run(self, names: str, count: int, *, earliest: bool = False, lost: int = 0) -> None:
        """Filter so many messages, then be killed when so many more are judged and not written."""
        topics = names.split()
        caps = VisitCaps(topics, 0)
        offsets = FilterOffsets(
            topics, caps.keys, from_beginning=earliest, notice=self.notices.append
        )
        self.account = FilterAccount(topics)
        engine = FilterEngine([*map(Passing, topics)], caps, offsets=offsets)
        self.offsets = offsets.resume(self.offsets, {AT: BEGIN})
        begin = self.offsets[AT][0]
        end = min(begin + count, LENGTH)
        for judged in engine.judge(map(message, range(begin, end))):
            self._write(engine.decide(judged))
        for judged in engine.judge(map(message, range(end, min(end + lost, LENGTH)))):
            engine.decide(judged)

    def _write(self, decided: Decided) -> None:
        self.offsets |= decided.offsets
        self.account.add(decided.counts(), decided.undecodable)
        for copy in decided.copies:
            if copy.topic == "alerts-undecodable":
                self.undecodable[copy.message.offset] += 1
            else:
                self.written[copy.topic, copy.message.offset] += 1

    def got(self, name: str) -> list[int]:
        """The offsets that a filter has passed, in order; each once."""
        assert all(count == 1 for count in self.written.values())
        return sorted(offset for topic, offset in self.written if topic == name)


def alerts(begin: int, end: int = LENGTH) -> list[int]:
    return [offset for offset in range(begin, end) if offset % JUNK]


def test_from_latest_old_filters_go_on_and_a_new_one_begins_there() -> None:
    group = Group()
    group.run("A B", 10)
    group.run("A B C", LENGTH)
    assert (group.got("A"), group.got("C")) == (alerts(BEGIN), alerts(BEGIN + 10))
    (notice,) = group.notices
    assert "C" in notice and "--new-filters-from earliest" in notice


def test_from_earliest_a_new_filter_gets_alone_what_the_others_have_had() -> None:
    group = Group()
    group.run("A B", 10)
    group.run("A B C", 15, earliest=True)
    (a, _, c) = group.account.totals()
    assert (a.seen, a.passed, a.undecodable) == (5, 4, 1)
    assert (c.seen, c.passed, c.undecodable) == (15, 13, 2)
    assert {each.filter: each.seen for each in group.account.close_visits(all_of_them=True)} == {
        **{"A": 4, "B": 4, "C": 13}
    }
    group.run("A B C", LENGTH, earliest=True)
    assert group.got("A") == group.got("B") == group.got("C") == alerts(BEGIN)
    # What is undecodable was set aside when the first of them had it.
    assert group.undecodable == dict.fromkeys(range(7, LENGTH, JUNK), 1)


def test_killed_while_a_new_filter_catches_up_it_goes_on_there() -> None:
    group = Group()
    group.run("A", 20)
    group.run("A B", 5, earliest=True, lost=4)
    assert json.loads(group.offsets[AT][1])["ahead"] == [[BEGIN + 20, "1"]]
    group.run("A B", LENGTH)
    assert group.got("A") == group.got("B") == alerts(BEGIN)
    assert "ahead" not in json.loads(group.offsets[AT][1]) and len(group.notices) == 1


def test_while_one_catches_up_another_one_begins_where_the_group_had_been() -> None:
    group = Group()
    group.run("A", 20)
    group.run("A B", 5, earliest=True)
    group.run("A B C", LENGTH)
    assert group.got("A") == group.got("B") == alerts(BEGIN)
    assert group.got("C") == alerts(BEGIN + 20)


def test_without_the_one_that_catches_up_the_others_go_on_at_once() -> None:
    group = Group()
    group.run("A", 20)
    group.run("A B", 5, earliest=True)
    group.run("A", 0)
    assert group.offsets[AT][0] == BEGIN + 20
    assert group.notices[-1] == "filters that the group does not run any more: 1"


def test_a_filter_that_comes_back_is_new() -> None:
    group = Group()
    group.run("A B", 5)
    group.run("A", 5)
    group.run("A B", LENGTH)
    assert group.got("A") == alerts(BEGIN)
    assert group.got("B") == alerts(BEGIN, BEGIN + 5) + alerts(BEGIN + 10)


@pytest.mark.parametrize("text", ["", '{"visit_caps": 1, "log": "one"}', "junk", "[]", '"x"'])
def test_a_group_that_keeps_no_filters_has_those_that_run(text: str) -> None:
    group = Group()
    group.offsets = {AT: (10, text)}
    group.run("A B", LENGTH, earliest=True)
    assert group.got("A") == group.got("B") == alerts(10)
    assert group.notices == []


def test_what_else_is_kept_stays() -> None:
    group = Group()
    group.offsets = {AT: (10, '{"visit_caps": 1, "log": "one"}')}
    group.run("A B", 0)
    kept = json.loads(group.offsets[AT][1])
    assert (kept["visit_caps"], kept["log"], len(kept["filters"])) == (1, "one", 12)


def test_a_partition_that_has_lost_its_end_is_for_all() -> None:
    offsets = FilterOffsets(["A", "B"], ["a", "b"], from_beginning=True)
    offsets.resume({AT: (20, '{"filters": "a"}')}, {AT: BEGIN})
    (five,) = [each.message for each in [message(5)]]
    assert offsets.due(five) == 0b10
    offsets.read_from_beginning(AT)
    assert offsets.due(five) == 0b11


def test_whatever_changes_each_message_is_given_once(seed: int = 17) -> None:
    choose = random.Random(seed)
    for _ in range(60):
        group, begins, running = Group(), dict[str, int](), set[str]()
        for _ in range(choose.randint(1, 6)):
            names = sorted(choose.sample("ABCD", choose.randint(1, 4)))
            # A filter that comes back is new: with "earliest" it would have all again.
            names = [each for each in names if each not in begins or each in running]
            if not names:
                break
            earliest, front = choose.random() < 0.5, _front(group, names)
            for name in {*names} - running:
                begins[name] = BEGIN if earliest or not running else front
            running = {*names}
            how = {"earliest": earliest, "lost": choose.randint(0, 9)}
            group.run(" ".join(names), choose.randint(0, 25), **how)  # type: ignore[arg-type]
        group.run(" ".join(sorted(running)), LENGTH)
        for name in running:
            assert group.got(name) == alerts(begins[name])


def _front(group: Group, names: Sequence[str]) -> int:
    """Where the filters are that the group has, the furthest of them."""
    offset, text = group.offsets[AT]
    ahead = json.loads(text).get("ahead", []) if text else []
    return max([offset, *(until for until, _ in ahead)])


def test_what_is_kept_fits_and_more_filters_are_refused() -> None:
    keys = VisitCaps([f"Filter{n}" for n in range(MAX_FILTERS)], 20).keys
    assert len({*keys}) == len(keys)
    offsets = FilterOffsets(keys, keys, from_beginning=True)
    begun = "".join(keys[: MAX_FILTERS // 2])
    resumed = offsets.resume({AT: (10**12, json.dumps({"filters": begun}))}, {AT: 0})
    more = {"visit_caps": 10**12, "log": "f" * 32}
    assert len(offsets.text(AT, resumed[AT][0], more)) + 33 < 4096
    with pytest.raises(UsageError, match="another --group"):
        FilterOffsets([*keys, "one"], [*keys, "one"])
