"""The account of a filter run adds up, by visit and in total."""

from __future__ import annotations

import json

import pytest

from alertstream.filtering.account import MAX_VISITS, FilterAccount, FilterCounts, visit_lines


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
        "F  visit 7: 10 seen = 3 passed + 4 rejected + 2 capped + 0 undecodable + 1 failed"
    )
    assert FilterCounts("F", None).as_line().startswith("F  no visit: 0 seen")
    assert FilterCounts("F", final=True).as_line().startswith("F  all visits: 0 seen")


def test_only_counts_of_all_messages_are_final_in_json() -> None:
    counts = FilterCounts("F", None, 11, passed=3, capped=2, undecodable=1, failed=1, duplicate=1)
    assert "2 capped + 1 duplicate + 1 undecodable" in counts.as_line()
    assert counts.as_json() == {
        "filter": "F",
        "visit": None,
        "seen": 11,
        "passed": 3,
        "rejected": 3,
        "capped": 2,
        "duplicate": 1,
        "undecodable": 1,
        "failed": 1,
    }
    final = FilterCounts("F", final=True, seen=10, seconds=0.5)
    assert final.as_json()["final"] is True
    assert final.as_json()["alerts_per_second"] == 20
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
    account.add([], undecodable={"F": 2, "G": 1})
    account.add([FilterCounts("F", 7, 10, 3, failed=1), FilterCounts("F", 8, 5, 1)])
    account.close_visits(all_of_them=True)
    account.add([FilterCounts("F", 8, 1, 1)])
    assert account.totals() == [
        FilterCounts("F", None, 18, 5, 0, 2, 1, final=True),
        FilterCounts("G", None, 1, 0, 0, 1, final=True),
    ]
    assert all(each.rejected >= 0 for each in account.totals())


def test_there_is_one_line_a_visit_and_one_a_filter_at_the_end() -> None:
    counts = [
        *(FilterCounts("F", 7, 10, 3), FilterCounts("G", 7, 10, 0, 4)),
        *(FilterCounts("F", None, 1, 1), FilterCounts("G", None, 1, failed=1)),
        *(FilterCounts("F", final=True, seen=11, passed=4), FilterCounts("G", final=True, seen=11)),
    ]
    assert [*visit_lines(counts)] == [
        "visit 7: 10 seen by 2 filters = 3 passed + 13 rejected + 4 capped + 0 undecodable",
        "no visit: 1 seen by 2 filters"
        " = 1 passed + 0 rejected + 0 capped + 0 undecodable + 1 failed",
        "F  all visits: 11 seen = 4 passed + 7 rejected + 0 capped + 0 undecodable",
        "G  all visits: 11 seen = 0 passed + 11 rejected + 0 capped + 0 undecodable",
    ]
    assert [*visit_lines([counts[0]])] == [counts[0].as_line()]


@pytest.mark.hostile("13: 30,000 distinct visits x 100 filters")
def test_of_very_many_visits_most_are_summed_up() -> None:
    names = [f"Filter{number:03}" for number in range(100)]
    clock = Clock()
    account = FilterAccount(names, clock)
    for visit in range(3 * MAX_VISITS):
        account.add([FilterCounts(name, visit, 2, 1) for name in names])
    account.add([FilterCounts(name, None, 1) for name in names])
    # The sum is of visits that may go on.
    assert account.close_visits() == []
    clock.time += 6
    closed = account.close_visits()
    lines = [*visit_lines(closed)]
    assert (len(lines), len(closed)) == (MAX_VISITS, MAX_VISITS * len(names))
    (others,) = (each for each in closed if each.visits and each.filter == "Filter007")
    summed = 2 * MAX_VISITS + 2
    assert others.as_json() == {
        "filter": "Filter007",
        "visit": None,
        "seen": 2 * summed,
        "passed": summed,
        "rejected": summed,
        "capped": 0,
        "duplicate": 0,
        "undecodable": 0,
        "failed": 0,
        "visits": summed,
    }
    assert any(line.startswith(f"{summed} more visits: {2 * summed} seen by 100") for line in lines)
    assert [each.seen for each in account.totals()] == [6 * MAX_VISITS + 1] * 100
    # Who starts workers adds up what they have summed up.
    both = FilterAccount(names, clock)
    for _ in range(2):
        both.add(FilterCounts.from_json(each.as_json()) for each in closed)
    (twice,) = (
        each
        for each in both.close_visits(all_of_them=True)
        if each.visits and each.filter == "Filter007"
    )
    assert twice.visits >= 2 * summed and both.totals()[7].visits == 0


def test_seconds_count_from_the_first_message_to_the_last_that_is_counted() -> None:
    clock = Clock()
    account = FilterAccount(["F"], clock)
    clock.time += 10
    for seconds in (2, 3):
        account.begin()
        clock.time += seconds
        account.add([FilterCounts("F", 7, 50)])
    clock.time += 100
    assert [(each.seconds, each.rate) for each in account.totals()] == [(5, 20)]
    assert FilterCounts("F").rate == 0


def test_a_visit_that_goes_on_is_not_summed_up() -> None:
    account = FilterAccount(["F"])
    for visit in range(2 * MAX_VISITS):
        account.add([FilterCounts("F", -1, 1), FilterCounts("F", visit, 1)])
    closed = {each.visit: each for each in account.close_visits(all_of_them=True)}
    assert closed[-1].seen == 2 * MAX_VISITS
