"""``filter --all --unique``: what was sent twice is mirrored once, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections import Counter
from io import BytesIO
from pathlib import Path

import fastavro
import pytest
from aiokafka import AIOKafkaProducer
from tests.support import raw_kafka
from tests.support.cluster import Cluster, running_cluster
from tests.support.commands import run, start, stop, until
from tests.support.samples import official_schema, sample_alert, schema_id

from alertstream.avro.wire import pack

pytestmark = pytest.mark.slow
KILLS, MEMBERS, ALERTS, PER_SECOND = 12, 2, 12_000, 600
TOPICS = {"twice-a": 3, "twice-b": 2}
SCHEMA = fastavro.parse_schema(official_schema("10.0"))


async def send_twice(address: str, rng: random.Random) -> None:
    """Send each alert once or twice, somewhere, the second time soon after the first."""
    alert, again = sample_alert("10.0"), list[bytes]()
    async with AIOKafkaProducer(bootstrap_servers=address) as producer:
        for source in range(1, ALERTS + 1):
            alert["diaSource"]["diaSourceId"] = source
            body = BytesIO()
            fastavro.schemaless_writer(body, SCHEMA, alert)
            again.append(pack(schema_id("10.0"), body.getvalue()))
            sent = [again[-1]]
            if len(again) > 50:
                sent.append(again.pop(rng.randrange(50)))
            for value in sent:
                topic = rng.choice([*TOPICS])
                await producer.send(topic, value, partition=rng.randrange(TOPICS[topic]))
            if not source % (PER_SECOND // 10):
                await producer.flush()
                await asyncio.sleep(0.1)


def sources(target: Cluster) -> Counter[int]:
    """How often each source id is in the mirror."""
    found: Counter[int] = Counter()
    for topic in TOPICS:
        for each in target.read(topic) if raw_kafka.describe(target.address, topic) else ():
            alert = fastavro.schemaless_reader(BytesIO(each.value[5:]), SCHEMA, None)
            found[alert["diaSource"]["diaSourceId"]] += 1
    return found


def test_members_are_killed(kafka: str, tmp_path: Path) -> None:
    rng = random.Random(7)
    for topic, partitions in TOPICS.items():
        raw_kafka.make(kafka, topic, partitions)
    with running_cluster(nodes=1, data_dir=tmp_path / "target") as target:
        how = ("--all", "--unique", "--to", target.address, "--group", "twice", "--format", "json")

        def member() -> subprocess.Popen[str]:
            return start("filter", kafka, "twice-*", *how, out=tmp_path / "out")

        async def send_and_kill() -> list[subprocess.Popen[str]]:
            members = [member() for _ in range(MEMBERS)]
            sending = asyncio.create_task(send_twice(kafka, rng))
            for _ in range(KILLS):
                await asyncio.sleep(rng.uniform(0.5, 2.5))
                victim = rng.randrange(MEMBERS)
                members[victim].kill()
                members[victim].communicate()
                members[victim] = member()
            await sending
            return members

        members = asyncio.run(send_and_kill())
        until(lambda: len(sources(target)) == ALERTS, "all is mirrored", 90)
        assert [stop(each).status for each in members] == [0] * MEMBERS
        assert run("filter", kafka, "twice-*", *how, "--exit-on-eof").status == 0
        found = sources(target)
        assert {*found} == {*range(1, ALERTS + 1)}
        assert {*found.values()} == {1}
        made = {topic: raw_kafka.describe(target.address, topic) for topic in TOPICS}
        assert {topic: len((each or {})["partitions"]) for topic, each in made.items()} == {
            topic: max(TOPICS.values()) for topic in TOPICS
        }
