"""What to read, and how far."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import TopicPartition

from alertstream.errors import UsageError
from alertstream.kafka.subscription import EndOffsets, Subscription

ONE, TWO = TopicPartition("alerts", 0), TopicPartition("alerts", 1)
NOBODY: Any = None


@pytest.mark.parametrize("wrong", [{"start": "newest"}, {"until": -5}])
def test_what_is_not_valid(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is not a valid"):
        Subscription(("alerts",), **wrong)


def test_without_an_end_nothing_is_known_to_be_left() -> None:
    ends = EndOffsets(NOBODY, Subscription(("alerts",)), [ONE])
    assert ends.of(ONE) == math.inf
    assert ends.left([ONE], {ONE: 5}) is None


def test_what_is_left_up_to_an_offset() -> None:
    ends = EndOffsets(NOBODY, Subscription(("alerts",), until=10), [ONE, TWO])
    assert ends.of(ONE) == 10
    assert ends.left([ONE, TWO], {ONE: 4, TWO: 12}) == 6


def test_an_end_time_that_is_to_come_is_no_end_as_yet() -> None:
    until = datetime(2100, 1, 1, tzinfo=UTC)
    assert EndOffsets(NOBODY, Subscription(("alerts",), until=until), [ONE]).of(ONE) == math.inf


def test_a_partition_that_came_later_is_not_read_to_its_end() -> None:
    ends = EndOffsets(NOBODY, Subscription(("alerts",), exit_on_eof=True), [ONE])
    assert ends.of(TWO) == 0
