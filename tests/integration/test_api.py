"""``alertstream.read`` and ``alertstream.send``: what programs use."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from tests.support import raw_kafka
from tests.support.samples import write_container

import alertstream
from alertstream.errors import BrokerError, DataError, TopicError, UsageError

ROOT = Path(__file__).parents[2]


async def taken(*arguments: Any, count: int | None = None, **more: Any) -> list[Any]:
    found = []
    async with aclosing(alertstream.read(*arguments, **more)) as alerts:
        async for alert in alerts:
            found.append(alert)
            if len(found) == count:
                break
    return found


def read(*arguments: Any, **more: Any) -> list[Any]:
    return asyncio.run(taken(*arguments, **more))


@pytest.fixture
def stream(kafka: str, topic: str, visits: Path) -> str:
    sent = asyncio.run(alertstream.send(kafka, topic, visits))
    assert (sent.planned, sent.acknowledged, sent.failed) == (360, 360, 0)
    return topic


def test_new_schema_is_kept_for_readers(kafka: str, topic: str, tmp_path: Path) -> None:
    new = {"type": "record", "name": "lsst.v12_3.alert", "fields": [{"name": "n", "type": "long"}]}
    path = write_container(tmp_path / "new.avro", new, [{"n": 5}])
    asyncio.run(alertstream.send(kafka, topic, path, schemas=tmp_path / "schemas"))
    (alert,) = read(kafka, topic, schemas=tmp_path / "schemas", exit_on_eof=True)
    assert alert == {"n": 5}
    raw_kafka.write(kafka, topic, [b"\x0c"])
    alerts = read(kafka, topic, schema=path, exit_on_eof=True)
    assert sorted(each["n"] for each in alerts) == [5, 6]


LEAVING = """
import asyncio, logging, sys, alertstream

logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

async def first(count):
    found = set()
    async for alert in alertstream.read(*sys.argv[1:], group=sys.argv[2], fields=["snr"]):
        found.add(alert.message.position)
        if len(found) == count:
            return found

async def main():
    print(len(await first(100)))

asyncio.run(main())
"""


def test_leaving_the_loop_ends_reading(kafka: str, stream: str) -> None:
    """Without a word, as the program does."""
    command = [sys.executable, "-c", LEAVING, kafka, stream]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("100\n", "")


def test_reads_what_was_sent(kafka: str, stream: str) -> None:
    alerts = read(kafka, stream, fields=["snr", "visit"], exit_on_eof=True)
    messages = raw_kafka.read(kafka, stream)
    assert sorted(each.message.value for each in alerts) == sorted(m.value for m in messages)
    assert all(set(each) == {"diaSource"} for each in alerts)
    whole = read(kafka, [stream], exit_on_eof=True, start=-1)
    assert len(whole) == 4
    assert all(len(each["cutoutScience"]) > 1000 for each in whole)


def test_group_goes_on_with_what_was_not_done(kafka: str, stream: str) -> None:
    how = {"group": f"group-{stream}", "fields": ["source_id"], "exit_on_eof": True}
    first = read(kafka, stream, count=50, **how)
    rest = read(kafka, stream, **how)
    done = {each.source_id for each in first[:-1]}
    assert len(rest) == 360 - 49
    assert first[-1].source_id in {each.source_id for each in rest}
    assert not done & {each.source_id for each in rest}
    assert read(kafka, stream, **how) == []


def test_undecodable_messages_are_logged(
    kafka: str, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    raw_kafka.make(kafka, topic)
    raw_kafka.write(kafka, topic, [b"junk", b"more junk"])
    with caplog.at_level(logging.WARNING, "alertstream"):
        assert read(kafka, topic, exit_on_eof=True) == []
    told = [each.message for each in caplog.records if each.name == "alertstream"]
    assert len(told) == 1
    assert told[0].startswith("undecodable message: ")


def test_errors_are_of_one_family(kafka: str, topic: str, tmp_path: Path) -> None:
    with pytest.raises(TopicError, match="there is no topic"):
        read(kafka, topic)
    with pytest.raises(BrokerError, match="cannot be reached"):
        read(alertstream.Connection("127.0.0.1:1"), topic)
    with pytest.raises(DataError, match="no such file"):
        asyncio.run(alertstream.send(kafka, topic, tmp_path / "missing.avro"))
    with pytest.raises(UsageError, match="nan is not a valid interval"):
        asyncio.run(alertstream.send(kafka, topic, tmp_path, interval=math.nan))
    with pytest.raises(UsageError, match=r"no schema has the field snnr .* did you mean snr\?"):
        alertstream.read(kafka, topic, fields="snnr")
    with pytest.raises(UsageError, match="TLS is not known · choose one of PLAINTEXT, SSL"):
        alertstream.Connection(kafka, security_protocol="TLS")
    assert issubclass(TopicError, alertstream.AlertStreamError)
    with pytest.raises(AttributeError, match="no attribute 'reed'"):
        alertstream.reed  # noqa: B018


def test_example_of_the_documentation_runs(kafka: str, stream: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(import asyncio\n.*?)```", page, re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example.replace("localhost:9092", kafka).replace('"alerts"', f'"{stream}"'))
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) > 0
