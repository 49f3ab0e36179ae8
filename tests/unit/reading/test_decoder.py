"""Messages to alerts, without Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import pack
from alertstream.kafka.messages import Message
from alertstream.reading.decoder import (
    MAX_CAUSES,
    AlertDecoder,
    ReceivedAlert,
    ReportedOnce,
    Undecodable,
    decodable,
)


def message(value: bytes | None, offset: int = 0) -> Message:
    return Message("alerts", 1, offset, 1_000, None, value)


def test_what_cannot_be_decoded_is_counted_and_each_cause_reported_once() -> None:
    told: list[str] = []
    decoder = AlertDecoder(Schemas(), notice=told.append)
    values = [pack(4242, b""), None, pack(4242, b"x"), b"garbage"]
    found = [decoder.decode(message(value, offset)) for offset, value in enumerate(values)]
    causes = [each.cause for each in found if isinstance(each, Undecodable)]
    assert causes == [
        "unknown schema id 4242",
        "no content",
        "unknown schema id 4242",
        "no wire-format header",
    ]
    assert decoder.undecodable == 4
    assert told == [
        "undecodable message: unknown schema id 4242 · alerts[1]@0",
        "undecodable message: no content · alerts[1]@1",
        "undecodable message: no wire-format header · alerts[1]@3",
    ]


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
