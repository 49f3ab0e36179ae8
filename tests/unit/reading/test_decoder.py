"""Messages to alerts, without Kafka."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.samples import body_of, sample_alert, schema_id

from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import pack
from alertstream.kafka.messages import Message, Unreadable
from alertstream.reading import decoder as decoder_module
from alertstream.reading.decoder import (
    MAX_CAUSES,
    AlertDecoder,
    LenientDecoder,
    ReceivedAlert,
    ReportedOnce,
    Undecodable,
    decodable,
)

MESSAGES = {
    "an alert": pack(schema_id("10.0"), body_of(sample_alert("10.0"), "10.0")),
    "no alert": b"garbage",
}


ALERT = MESSAGES["an alert"]


def message(value: bytes | None, offset: int = 0) -> Message:
    return Message("alerts", 1, offset, 1_000, None, value)


def test_lenient_decoder_takes_all_that_can_be_read() -> None:
    unreadable = Unreadable()
    unreadable.cause = "damaged"
    for paths in ((), ("diaSource.visit",)):
        decoder = LenientDecoder(Schemas(), paths)
        for value in (b"junk", b"", None, pack(4242, b"?"), ALERT[:-1]):
            found = decoder.decode(message(value))
            assert (found.message.value, found) == (value, {})
        fields = {"diaSource": {"visit": sample_alert("10.0")["diaSource"]["visit"]}}
        assert decoder.decode(message(ALERT)) == (fields if paths else {})
        assert isinstance(decoder.decode(message(unreadable)), Undecodable)


def test_what_cannot_be_decoded_is_counted_and_each_cause_reported_once() -> None:
    told: list[str] = []
    decoder = AlertDecoder(Schemas(), notice=told.append)
    values = [pack(4242, b""), None, pack(4242, b"x"), b'{"ra": 12.5}']
    found = [decoder.decode(message(value, offset)) for offset, value in enumerate(values)]
    causes = [each.cause for each in found if isinstance(each, Undecodable)]
    assert causes == [
        "unknown schema id 4242",
        "no content",
        "unknown schema id 4242",
        "JSON, not Avro",
    ]
    assert decoder.undecodable == {"alerts": 4}
    assert told == [
        "undecodable message: unknown schema id 4242 · alerts[1]@0",
        "undecodable message: no content · alerts[1]@1",
        "undecodable message: JSON, not Avro · alerts[1]@3",
    ]


def test_a_survey_that_is_not_known_is_said_once(tmp_path: Path) -> None:
    fields = [{"name": "ra", "type": "double"}]
    for number in (1, 2):
        schema = {"type": "record", "name": "goto.alert", "fields": fields, "doc": str(number)}
        (tmp_path / f"{number}.avsc").write_text(json.dumps(schema))
    told: list[str] = []
    decoder = AlertDecoder(Schemas([tmp_path]), notice=told.append)
    for number in (1, 2, 1):
        found = decoder.decode(message(pack(number, bytes(8))))
    assert isinstance(found, ReceivedAlert)
    assert (found["ra"], math.isnan(found.ra), found.survey.name) == (0.0, True, "unknown")
    assert [each for each in told if "survey" in each] == [
        "goto.alert is no known survey's schema: its alerts have fields, but no quantities; "
        "--survey FILE adds a survey's table"
    ]


@pytest.mark.hostile("1g: a message that cost a member its membership, whatever the reason")
@pytest.mark.parametrize("name", ["an alert", "no alert"])
def test_what_took_too_long_is_not_decoded_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    value = MESSAGES[name]
    decoder = AlertDecoder(Schemas(), notice=told.append)
    monkeypatch.setattr(decoder_module, "DECODING_TIMEOUT", 0.0)
    first = decoder.decode(message(value, 7))
    assert isinstance(first, ReceivedAlert) == (name == "an alert")
    monkeypatch.undo()
    again, other = decoder.decode(message(value, 7)), decoder.decode(message(value, 8))
    assert isinstance(again, Undecodable)
    assert again.cause == "takes too long to decode"
    assert told[-1] == "undecodable message: takes too long to decode · alerts[1]@7"
    assert type(other) is type(first)


def test_a_process_that_was_frozen_has_not_taken_long(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = AlertDecoder(Schemas())
    clock = iter([0.0, 60.0, 61.0, 62.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    for _ in range(2):
        assert isinstance(decoder.decode(message(MESSAGES["an alert"])), ReceivedAlert)


def test_an_alert_has_its_message() -> None:
    received = ReceivedAlert({"diaSource": {"visit": 7}}, message(b"x", 5))
    assert received.visit == 7
    assert received.message.offset == 5


def test_no_end_of_causes_is_reported() -> None:
    told: list[str] = []
    report = ReportedOnce(told.append)
    for number in range(2 * MAX_CAUSES):
        report(f"cause {number}", f"line {number}")
    assert told == [f"line {number}" for number in range(MAX_CAUSES)]


class _Waited(Schemas):
    """Schemas that come with the second question."""

    asked = 0

    async def ready(self, *_: object) -> bool:
        self.asked += 1
        return self.asked < 2


def test_batches_end_when_the_stop_comes_before_their_schemas() -> None:
    async def batches() -> AsyncIterator[list[Message]]:
        for offset in range(3):
            yield [message(b"", offset)]

    async def main() -> list[list[Message]]:
        decoder = AlertDecoder(_Waited())
        return [each async for each in decodable(batches(), decoder, asyncio.Event())]

    assert [[each.offset for each in batch] for batch in asyncio.run(main())] == [[0]]
