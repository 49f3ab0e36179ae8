"""``filter --to``: exactly once from one cluster to another, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import KafkaError
from tests.support import raw_kafka
from tests.support.cluster import Cluster, running_cluster
from tests.support.commands import finish, run, start, stop, until

pytestmark = pytest.mark.slow
KILLS, MEMBERS, PARTITIONS = 20, 3, 5
EVERYTHING = ("--where", "source_id > 0 or not source_id > 0", "--output", "copies", "--cap", 0)


def origins(target: Cluster) -> Counter[tuple[int, int]]:
    """How often each message of the source has passed; of none, while the target restarts."""
    try:
        copies = target.read("copies")
    except KafkaError:
        return Counter()
    found = [json.loads(dict(each.headers)["alertstream.origin"]) for each in copies]
    return Counter((each["partition"], each["offset"]) for each in found)


def there(address: str) -> dict[tuple[int, int], int]:
    ends = raw_kafka.ends(address, "alerts").items()
    return {(number, offset): 1 for number, end in ends for offset in range(end)}


async def grow(address: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_partitions({"alerts": NewPartitions(partitions)})
    finally:
        await admin.close()


async def names(address: str) -> tuple[set[str], set[str]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        return set(await admin.list_topics()), {n for n, *_ in await admin.list_consumer_groups()}
    finally:
        await admin.close()


def test_members_and_the_target_are_killed(kafka: str, visits: Path, tmp_path: Path) -> None:
    raw_kafka.make(kafka, "alerts", PARTITIONS)
    before, rng = asyncio.run(names(kafka)), random.Random(5)
    with running_cluster(nodes=1, data_dir=tmp_path / "target") as target:

        def member() -> subprocess.Popen[str]:
            how = ("--to", target.address, "--group", "afar", "--format", "json")
            return start("filter", kafka, "alerts", *EVERYTHING, *how, out=tmp_path / "out")

        sending = start(
            *("send", kafka, "alerts", "--data", visits, "--interval", 1, "--repeat", 40)
        )
        members = [member() for _ in range(MEMBERS)]
        for number in range(KILLS):
            seen = origins(target).total() if raw_kafka.describe(target.address, "copies") else 0
            victim = rng.randrange(MEMBERS)
            members[victim].kill()
            members[victim].communicate()
            members[victim] = member()
            if number == KILLS // 2:
                target.kill(1)
                target.start(1)
                asyncio.run(grow(kafka, PARTITIONS + 2))
            until(
                lambda: sending.poll() is not None or origins(target).total() > seen,  # noqa: B023
                "it goes on",
                60,
            )
        assert finish(sending).status == 0
        # To partitions that were added, too.
        assert run("send", kafka, "alerts", "--data", visits, "--interval", 0).status == 0
        expected = Counter(there(kafka))
        assert {number for number, _ in expected} == {*range(PARTITIONS + 2)}
        until(lambda: len(origins(target)) >= len(expected), "all is filtered", 90)
        for each in members:
            assert stop(each).status == 0
        assert origins(target) == expected
        how = ("--to", target.address, "--group", "afar", "--exit-on-eof")
        assert run("filter", kafka, "alerts", *EVERYTHING, *how).status == 0
        assert origins(target) == expected
    assert asyncio.run(names(kafka)) == before
