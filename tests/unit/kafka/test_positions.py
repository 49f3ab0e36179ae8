from __future__ import annotations

from aiokafka import TopicPartition

from alertstream.kafka.messages import Positions

FIRST, SECOND = TopicPartition("alerts", 0), TopicPartition("alerts", 1)


def positions() -> Positions:
    """Messages up to 9 of the first partition, and behind them records that are none, up to 11."""
    made = Positions()
    made.seek(FIRST, 4)
    made.read[FIRST] = 10
    made.reached([(FIRST, 12)])
    return made


def test_offsets_go_beyond_records_that_are_no_messages() -> None:
    assert positions().beyond({FIRST: (10, "kept")}) == {FIRST: (12, "kept")}


def test_offsets_stay_while_something_that_was_read_is_not_done() -> None:
    assert positions().beyond({FIRST: (9, ""), SECOND: (3, "")}) == {
        FIRST: (9, ""),
        SECOND: (3, ""),
    }


def test_offsets_move_though_no_message_has_come() -> None:
    made = positions()
    assert made.to_move([FIRST]) == {}
    made.done({FIRST: (9, "text")})
    assert made.to_move([FIRST, SECOND]) == {}
    made.done({FIRST: (10, "text")})
    assert made.to_move([FIRST]) == {FIRST: (12, "text")}
    assert made.to_move([SECOND]) == {}
    made.done({FIRST: (12, "text")})
    assert made.to_move([FIRST]) == {}


def test_what_is_read_again_is_not_done() -> None:
    made = positions()
    made.seek(FIRST, 0)
    assert made.beyond({FIRST: (0, "")}) == {FIRST: (0, "")}
