"""``alertstream doctor``: what it takes to read a stream, one line each, and how to fix it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.support import raw_kafka
from tests.support.commands import Finished, run, send_visits


def findings(ended: Finished) -> list[str]:
    """Its lines, with one space between columns."""
    return [" ".join(line.split()) for line in ended.lines]


def bad(ended: Finished) -> list[str]:
    return [line for line in findings(ended) if line.startswith("BAD")]


def test_all_is_well(kafka: str, topic: str, visits: Path) -> None:
    send_visits(kafka, topic, visits)
    examined = run("doctor", kafka, topic, "--group", f"group-{topic}")
    assert (examined.status, examined.err) == (0, "")
    assert bad(examined) == []
    names = [line.split()[1] for line in examined.lines]
    assert names == [
        *("Java", "host", "Kafka", "registry", "topic"),
        *("group", "writing", "messages", "clock", "decoding"),
    ]
    assert examined.lines[-1].endswith("of the newest are alerts of LSST")
    as_json = run("doctor", kafka, topic, "--format", "json")
    assert [each["name"] for each in as_json.objects][-1] == "decoding"
    assert all(each["good"] is not False for each in as_json.objects)


def test_topic_that_is_misspelt(kafka: str, topic: str) -> None:
    raw_kafka.make(kafka, topic)
    examined = run("doctor", kafka, f"{topic}x")
    assert examined.status == 1
    assert len(bad(examined)) == 1
    assert bad(examined)[0].endswith(f"did you mean {topic}?")


def test_messages_that_cannot_be_decoded(kafka: str, topic: str) -> None:
    raw_kafka.make(kafka, topic)
    empty = run("doctor", kafka, topic)
    assert (empty.status, findings(empty)[-1]) == (0, "- messages there are none")
    raw_kafka.write(kafka, topic, [b"\0\0\0\x26\xb5junk"])
    examined = run("doctor", kafka, topic)
    assert examined.status == 1
    assert "unknown schema id 9909" in bad(examined)[0]
    assert "--registry" in bad(examined)[0]


def test_clock_that_is_behind(kafka: str, topic: str) -> None:
    raw_kafka.make(kafka, topic)
    raw_kafka.write(kafka, topic, [b"junk"], timestamp_ms=int((time.time() + 600) * 1000))
    examined = run("doctor", kafka, topic)
    assert "s in the future" in bad(examined)[0]
    assert "NTP" in bad(examined)[0]


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (["127.0.0.1:1"], 1, "BAD host 127.0.0.1:1 cannot be reached (Connection refused)"),
        (["no.such.host.invalid:9092"], 1, "BAD host no.such.host.invalid:9092 cannot be"),
        (["{}", "--registry", "http://127.0.0.1:1"], 1, "BAD registry the schema registry cannot"),
        (["{}", "--security-protocol", "SSL"], 1, "BAD Kafka no connection to Kafka: it ends"),
        (["{}", "--format", "html"], 2, "not one of 'text', 'json'"),
    ],
)
def test_what_is_wrong(kafka: str, arguments: list[str], status: int, what: str) -> None:
    examined = run("doctor", *(each.format(kafka) for each in arguments))
    assert examined.status == status
    assert what in examined.err + "\n".join(findings(examined))
    assert len(bad(examined)) == (status == 1)
