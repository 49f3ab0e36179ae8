"""``alertstream filter --all``: a topic's messages as they are, once each, on another topic."""

from __future__ import annotations

import json
import time

import pytest
from tests.support import raw_kafka
from tests.support.commands import one_error, run
from tests.support.samples import body_of, sample_alert, schema_id

from alertstream.avro.wire import pack

ALERT = pack(schema_id("10.0"), body_of(sample_alert("10.0"), "10.0"))
LATELY = int(time.time() * 1000) - 1000
"""Kafka deletes what is older than a week."""
JUNK = [b"junk", pack(4242, b"?"), b"", ALERT[:-1]]


def test_everything_is_copied_with_its_place_key_time_and_headers(kafka: str, topic: str) -> None:
    raw_kafka.make(kafka, topic, 3)
    raw_kafka.write(kafka, topic, [ALERT, *JUNK], partition=2)
    more = {"key": b"k", "headers": [("theirs", b"1"), ("alertstream.reason", b"cut short")]}
    raw_kafka.write(kafka, topic, [None], partition=1, timestamp_ms=LATELY, **more)
    how = ("--all", "--output", f"{topic}-copy", "--exit-on-eof", "--rate", 10)
    mirrored = run("filter", kafka, topic, *how, "--format", "json")
    assert (mirrored.status, mirrored.err) == (0, "")
    total = mirrored.objects[-1]
    assert (total["filter"], total["seen"], total["passed"]) == (f"{topic}-copy", 6, 6)
    # The last one has to wait for its turn, as all but the first.
    assert total["seconds"] > 0.4 and total["alerts_per_second"] < 15
    there, copies = raw_kafka.read(kafka, topic), raw_kafka.read(kafka, f"{topic}-copy")
    kept = ("partition", "key", "value", "timestamp")
    assert [[getattr(each, name) for name in kept] for each in copies] == [
        [getattr(each, name) for name in kept] for each in there
    ]
    assert copies[0].headers[:2] == (("theirs", b"1"), ("alertstream.reason", b"cut short"))
    origins = [json.loads(dict(each.headers)["alertstream.origin"]) for each in copies]
    assert [(each["partition"], each["offset"]) for each in origins] == [
        (each.partition, each.offset) for each in there
    ]
    assert raw_kafka.describe(kafka, f"{topic}-undecodable") is None
    visit = sample_alert("10.0")["diaSource"]["visit"]
    how = ("--all", "--output", f"{topic}-visit", "--visit", visit, "--exit-on-eof")
    of_visit = run("filter", kafka, topic, *how, "--without", "cutouts")
    assert of_visit.status == 3
    assert "6 seen = 1 passed + 0 rejected + 0 capped + 5 undecodable" in of_visit.lines[-1]
    (copy,) = raw_kafka.read(kafka, f"{topic}-visit")
    assert b"cutoutDifference" in dict(copy.headers)["alertstream.without"]
    assert len(raw_kafka.read(kafka, f"{topic}-undecodable")) == 5


def test_a_topic_is_not_copied_to_itself(kafka: str, topic: str) -> None:
    raw_kafka.make(kafka, topic)
    elsewhere = kafka.replace("127.0.0.1", "localhost")
    for more in ((), ("--to", kafka), ("--to", elsewhere)):
        refused = run("filter", kafka, topic, "--all", "--exit-on-eof", *more)
        one_error(refused, f"the output topic {topic} is also an input", status=2)
    assert raw_kafka.ends(kafka, topic) == {0: 0}


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["1", "--all", "--where", "snr > 5"], "--all copies everything, and excludes FILTER, --w"),
        (["--all", "--cap", 3], "excludes --cap"),
        (["--all", "--dry-run", "data"], "excludes --dry-run"),
        (["--all", "--output", "a topic"], "a topic is not a valid name for a topic"),
        (["--all", "--output", "x", "--rate", "inf"], "inf is not a valid --rate"),
        (["1", "--visit", "7"], "--visit belongs to --all"),
    ],
)
def test_wrong_arguments(arguments: list[object], what: str) -> None:
    one_error(run("filter", "127.0.0.1:1", "any", *arguments), what, status=2)
