"""The account of a filter run adds up, by visit and in total."""

from __future__ import annotations

import json

from alertstream.filtering.account import FilterAccount, FilterCounts


class Clock:
    """Seconds that pass when a test says so."""

    time = 100.0

    def __call__(self) -> float:
        return self.time


def test_what_is_neither_passed_nor_capped_nor_undecodable_is_rejected() -> None:
    counts = FilterCounts("F", 1, seen=10, passed=3, capped=2, undecodable=1)
    assert counts.rejected == 4


def test_a_line_says_which_visits_are_meant() -> None:
    counts = FilterCounts("F", 7, seen=10, passed=3, capped=2, failed=1)
    assert counts.as_line() == (
        "F  visit 7: 10 seen = 3 passed + 5 rejected (1 of them failed) + 2 capped + 0 undecodable"
    )
    assert FilterCounts("F", None).as_line().startswith("F  no visit: 0 seen")
    assert FilterCounts("F", final=True).as_line().startswith("F  all visits: 0 seen")


def test_only_counts_of_all_messages_are_final_in_json() -> None:
    counts = FilterCounts("F", None, seen=10, passed=3, capped=2, undecodable=1, failed=1)
    assert counts.as_json() == {
        "filter": "F",
        "visit": None,
        "seen": 10,
        "passed": 3,
        "rejected": 4,
        "capped": 2,
        "undecodable": 1,
        "failed": 1,
    }
    final = FilterCounts("F", final=True, seen=10)
    assert final.as_json()["final"] is True
    for each in (counts, final):
        assert FilterCounts.from_json(json.loads(json.dumps(each.as_json()))) == each


def test_visits_are_closed_once_nothing_more_comes_of_them() -> None:
    clock = Clock()
    account = FilterAccount(["F", "G"], clock)
    account.add([FilterCounts("F", 7, 10, 3), FilterCounts("G", 7, 10, 0, 4)])
    clock.time += 3
    account.add([FilterCounts("F", 7, 5, 1), FilterCounts("G", 7, 5), FilterCounts("F", None, 1)])
    clock.time += 4
    assert account.close_visits() == []
    account.add([FilterCounts("F", None, 1, 1)])
    clock.time += 2
    assert account.close_visits() == [FilterCounts("F", 7, 15, 4), FilterCounts("G", 7, 15, 0, 4)]
    assert account.close_visits() == []
    assert account.close_visits(all_of_them=True) == [FilterCounts("F", None, 2, 1)]


def test_totals_have_every_filter_and_what_belongs_to_no_visit() -> None:
    account = FilterAccount(["F", "G"])
    account.add([], undecodable=2)
    account.add([FilterCounts("F", 7, 10, 3, failed=1), FilterCounts("F", 8, 5, 1)])
    account.close_visits(all_of_them=True)
    account.add([FilterCounts("F", 8, 1, 1)])
    assert account.totals() == [
        FilterCounts("F", None, 18, 5, 0, 2, 1, final=True),
        FilterCounts("G", None, 2, 0, 0, 2, final=True),
    ]
    assert all(each.rejected >= 0 for each in account.totals())
