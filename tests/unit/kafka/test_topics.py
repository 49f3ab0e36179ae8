"""Topics by name and by pattern."""

from __future__ import annotations

from pathlib import Path

import pytest

from alertstream.errors import TopicError
from alertstream.kafka._aiokafka.batches import OVERHEAD
from alertstream.kafka.connection import Connection
from alertstream.kafka.topics import Topic, existing_topics

LOCAL = Connection("localhost:9092")
FOUND = {
    "alerts-v10": 45,
    "alerts-v11": 45,
    "alerts-v11-undecodable": 4,
    "_alerts-v11": 1,
    "group-visit-caps": 1,
}


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["alerts-v11"], ["alerts-v11"]),
        (["alerts-*"], ["alerts-v10", "alerts-v11"]),
        (["alerts-v1[1-9]"], ["alerts-v11"]),
        (["*-undecodable"], ["alerts-v11-undecodable"]),
        (["_*"], ["_alerts-v11"]),
        (["nothing-*"], []),
        (["*"], ["alerts-v10", "alerts-v11"]),
    ],
)
def test_names_and_patterns(names: list[str], chosen: list[str]) -> None:
    assert list(existing_topics(FOUND, names, LOCAL)) == chosen


def test_a_topic_that_does_not_exist() -> None:
    with pytest.raises(
        TopicError, match="there is no topic alerts · localhost:9092 · topics"
    ) as no:
        existing_topics(FOUND, ["alerts"], LOCAL)
    assert "topics there: alerts-v10, alerts-v11" in str(no.value)
    assert "undecodable" not in str(no.value)
    assert "caps" not in str(no.value)


def test_a_topic_that_is_missing_or_hidden() -> None:
    with pytest.raises(TopicError, match="there is no topic a · localhost:9092 · send to it first"):
        existing_topics({"_internal": 1}, ["a"], LOCAL)
    login = Connection("h:1", security_protocol="SASL_SSL", username="ada", password="x")
    certified = Connection("h:1", security_protocol="SSL", cert_file=Path("cert.pem"))
    for each in (login, certified):
        with pytest.raises(TopicError, match="no right to see it · h:1 · ask for the right to rea"):
            existing_topics({"a-undecodable": 1}, ["a"], each)


def test_a_batch_is_no_larger_than_its_topic_takes() -> None:
    assert Topic("alerts", 4).batch_size() + OVERHEAD == 256 * 1024
    assert Topic("alerts", 4, 1_000).batch_size() + OVERHEAD == 1_000


def test_addresses_of_a_broker() -> None:
    found = Connection("localhost, kafka.example:9093,[::1]:9094").addresses()
    assert found == [("localhost", 9092), ("kafka.example", 9093), ("::1", 9094)]
