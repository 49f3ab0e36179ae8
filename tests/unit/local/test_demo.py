"""The demo's account."""

from __future__ import annotations

from alertstream.errors import DeliveryError
from alertstream.filtering.account import FilterCounts
from alertstream.local.demo import DemoSummary
from alertstream.sending.delivery import VisitSent


def test_counts_that_do_not_add_up_are_an_error() -> None:
    sent = VisitSent("", "", planned=10, acknowledged=10)
    topics = {"alerts-simulated": {"alerts": 10}, "Filter001": {"alerts": 3}}
    counts = FilterCounts("Filter001", final=True, seen=10, passed=3)
    DemoSummary(sent, {"topics": topics}, [counts], {"Filter001": 3}).check()
    for printed, seen in ((2, 10), (3, 9)):
        counts = FilterCounts("Filter001", final=True, seen=seen, passed=3)
        try:
            DemoSummary(sent, {"topics": topics}, [counts], {"Filter001": printed}).check()
        except DeliveryError as error:
            assert "Filter001 has passed 3" in str(error)
        else:
            raise AssertionError("no error")
