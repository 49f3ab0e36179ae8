"""Where a group's offsets are: behind what is no message, or beyond a topic's end."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from tests.support import raw_kafka
from tests.support.commands import run
from tests.support.samples import body_of, sample_alert, schema_id

from alertstream.avro.wire import pack

ALERT = pack(schema_id("10.0"), body_of(sample_alert("10.0"), "10.0"))


async def write_in_transactions(kafka: str, topic: str) -> None:
    """Write three alerts, abort two, write one, and abort two."""
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic) as producer:
        for count, commits in ((3, True), (2, False), (1, True), (2, False)):
            await producer.begin_transaction()
            for _ in range(count):
                await producer.send_and_wait(topic, ALERT, partition=0)
            await (producer.commit_transaction() if commits else producer.abort_transaction())


@pytest.mark.parametrize("command", ["filter", "print"])
def test_no_lag_is_left_behind_the_last_alert(kafka: str, topic: str, command: str) -> None:
    raw_kafka.make(kafka, topic)
    asyncio.run(write_in_transactions(kafka, topic))
    what = ("--where", "snr > 1", "--output", f"{topic}-out") if command == "filter" else ()
    how = ("--group", topic, "--exit-on-eof", "--format", "json")
    ran = run(command, kafka, topic, *what, *how)
    assert ran.status == 0
    assert raw_kafka.ends(kafka, topic) == raw_kafka.committed(kafka, topic) == {0: 12}


def test_offset_beyond_the_end_is_told(kafka: str, topic: str) -> None:
    raw_kafka.make(kafka, topic)
    raw_kafka.write(kafka, topic, [ALERT] * 2)
    raw_kafka.commit(kafka, topic, topic, 5)
    ran = run("print", kafka, topic, "--group", topic, "--exit-on-eof", "--format", "json")
    assert (ran.status, len(ran.lines)) == (0, 2)
    assert f"{topic}[0] ends before 5, where it was read: it is read from its beginning" in ran.err
