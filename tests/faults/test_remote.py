"""``filter --to``: exactly once from a cluster that may only be read, whatever is killed meanwhile.

The source has TLS, users and rights as Rubin's stream has, and what is typed is what
docs/real-stream.md says. A client of another make counts what has arrived.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from tests.support import librdkafka, raw_kafka
from tests.support.cluster import Cluster, running_cluster
from tests.support.commands import run, start, stop, until
from tests.support.credentials import USERS, Files
from tests.support.lock_kafka import ROOT
from tests.support.registry_service import RegistryService, ask
from tests.support.secure_kafka import Right, admin, broker, secured, topics_and_groups

pytestmark = pytest.mark.slow
KILLS, MEMBERS, PARTITIONS = 20, 3, 5
PAGE = (ROOT / "docs/real-stream.md").read_text()
TOPIC = "alerts-simulated"
RIGHTS: list[Right] = [
    ("ada", "read,describe,describe-configs", "topic", TOPIC),
    ("ada", "all", "group", "ada*"),
]
BRIGHT = 36_307.8
"""Of magnitude 20, nJy."""
Passed = Counter[tuple[str, int, int]]
"""Messages of the source, by filter's topic, partition and offset."""


class Source:
    """The survey's Kafka: how its users see it, and what is in it."""

    def __init__(self, address: str, files: Files) -> None:
        self.address = address
        self.admin = admin(address, files)
        self._settings = librdkafka.secured("admin", USERS["admin"], files / "ca.pem")
        self._schemas: dict[int, Any] = {}

    def there(self) -> tuple[set[str], set[str]]:
        """Its topics and groups."""
        return asyncio.run(topics_and_groups(self.admin))

    def passing(self, registry: str, filters: list[str]) -> Passed:
        """What has to pass: brighter than magnitude 20, with SNR > 5."""
        passing = [
            (each.partition(), each.offset())
            for each in librdkafka.committed(self.address, TOPIC, **self._settings)
            if self._passes(registry, each.value())
        ]
        return Counter((topic, *at) for topic in filters for at in passing)

    def _passes(self, registry: str, value: bytes) -> bool:
        number = int.from_bytes(value[1:5])
        if number not in self._schemas:
            text = ask("GET", f"{registry}/schemas/ids/{number}")["schema"]
            self._schemas[number] = fastavro.parse_schema(json.loads(text))
        alert: Any = fastavro.schemaless_reader(BytesIO(value[5:]), self._schemas[number], None)
        source = alert["diaSource"]
        return (source["snr"] or 0) > 5 and (source["psfFlux"] or 0) > BRIGHT

    def administer(self, work: Callable[[AIOKafkaAdminClient], Any]) -> None:
        async def connected() -> None:
            client = AIOKafkaAdminClient(**self.admin.settings())
            await client.start()
            try:
                await work(client)
            finally:
                await client.close()

        asyncio.run(connected())


def passed(target: str, filters: list[str]) -> Passed:
    """What has passed, as often as it is there."""
    found = [
        (each.topic(), json.loads(dict(each.headers())["alertstream.origin"]))
        for each in librdkafka.committed(target, *filters)
    ]
    return Counter((topic, origin["partition"], origin["offset"]) for topic, origin in found)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[tuple[Source, Files]]:
    folder = tmp_path / "source"
    folder.mkdir()
    files = Files(folder)
    with broker(folder, "--data-dir", folder, *secured(files, RIGHTS)) as address:
        yield Source(address, files), files


def as_the_page_says(
    source: str, target: str, registry: str, files: Files, config: Path
) -> dict[str, list[str]]:
    """Write its profile, with the authority of this test; return its commands, by name."""
    (profile,) = re.findall(r"```toml\n(\[profiles\.rubin\].*?)```", PAGE, re.DOTALL)
    profile = profile.replace("HOST:PORT", source).replace("/home/ada/.rubin", "ada.password")
    profile = profile.replace("https://HOST/schema-registry", registry)
    profile = profile.replace("ada.password", str(files / "ada.password"))
    config.parent.mkdir(parents=True)
    config.write_text(f'{profile}ca_file = "{files / "ca.pem"}"\n')
    lines = next(block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
    typed = [shlex.split(line, comments=True) for line in lines.splitlines()]
    assert all(program == "alertstream" for program, *_ in typed)
    ours = {"localhost:9092": target, "https://HOST/schema-registry": registry}
    return {name: [name, *(ours.get(each, each) for each in more)] for _, name, *more in typed}


def test_members_and_the_target_are_killed(
    source: tuple[Source, Files],
    registry: RegistryService,
    visits: Path,
    tmp_path: Path,
    record_property: Callable[[str, Any], None],
) -> None:
    stream, files = source
    stream.administer(lambda client: client.create_topics([NewTopic(TOPIC, PARTITIONS, 1)]))
    boss = ("--username", "admin", "--password-file", files / "admin.password")
    home = {"XDG_CONFIG_HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path)}
    sending = ("send", "--profile", "rubin", TOPIC, *boss, "--data", visits)
    filters = ["Filter001", "Filter002", "Filter003"]
    with running_cluster(nodes=1, data_dir=tmp_path / "target") as target:
        config = tmp_path / "home" / "alertstream" / "config.toml"
        where = (stream.address, target.address, registry.url, files)
        typed = as_the_page_says(*where, config)
        assert run(*sending, "--interval", 0, **home).status == 0
        before = stream.there()
        examined = run(*typed["doctor"], **home)
        assert examined.status == 0, examined.out
        assert 'write group_prefix = "ada-" in the profile' in examined.out
        assert f"{shlex.join(['alertstream', *typed['filter'][:-1]])}" in examined.out

        def member() -> subprocess.Popen[str]:
            return start(*typed["filter"], "--cap", 0, out=tmp_path / "out", **home)

        members = [member() for _ in range(MEMBERS)]
        steady = start(*sending, "--interval", 0.5, "--repeat", 1000, **home)
        try:
            kill_in_turns(members, member, target, stream, filters)
        finally:
            stop(steady)
        # To partitions that were added, too.
        assert run(*sending, "--interval", 0, **home).status == 0
        for each in members:
            ended = stop(each)
            assert ended.status == 0, ended.err
        assert run(*typed["filter"], "--cap", 0, "--exit-on-eof", **home).status == 0
        # Before librdkafka reads there, which looks for a coordinator of groups.
        assert stream.there() == before
        expected = stream.passing(registry.url, filters)
        assert {number for _, number, _ in expected} == {*range(PARTITIONS + 2)}
        found = passed(target.address, filters)
        lost, doubled = (expected - found).total(), (found - expected).total()
        counts = (expected.total(), expected.total() - lost, lost, doubled)
        record_property("account", ("members of filter --to and its target killed", *counts))
        assert (lost, doubled) == (0, 0)
        read = run(*typed["print"], "--exit-on-eof", "--format", "json", **home)
        assert read.status == 0, read.err
        assert len(read.objects) == expected.total() // len(filters)
        made_anew_at_the_source(stream, [*typed["filter"], "--exit-on-eof"], sending, home)


def kill_in_turns(
    members: list[subprocess.Popen[str]],
    member: Callable[[], subprocess.Popen[str]],
    target: Cluster,
    stream: Source,
    filters: list[str],
) -> None:
    """Kill members at random; half way the target, too, and add partitions to the source."""
    rng = random.Random(5)
    for number in range(KILLS):
        seen = passed(target.address, filters).total()
        victim = rng.randrange(MEMBERS)
        members[victim].kill()
        members[victim].communicate()
        members[victim] = member()
        if number == KILLS // 2:
            target.kill(1)
            target.start(1)
            more = {TOPIC: NewPartitions(PARTITIONS + 2)}
            stream.administer(lambda client: client.create_partitions(more))  # noqa: B023
        until(lambda: passed(target.address, filters).total() > seen, "it goes on", 60)  # noqa: B023


def made_anew_at_the_source(
    stream: Source, filtering: list[str], sending: tuple[Any, ...], home: dict[str, str]
) -> None:
    """A topic that was deleted and recreated meanwhile is noticed, and read whole."""
    stream.administer(lambda client: client.delete_topics([TOPIC]))
    until(lambda: TOPIC not in stream.there()[0], "it is gone")
    assert run(*sending, "--interval", 0, **home).status == 0
    again = run(*filtering, "--from", "latest", "--format", "json", **home)
    assert f"{TOPIC} was deleted and recreated: it is read from its beginning" in again.err
    assert {each["seen"] for each in again.objects if each.get("final")} == {360}


def test_topic_that_appears_later(kafka: str, visits: Path, tmp_path: Path) -> None:
    """Also by a member that had nothing to read at first."""
    how = ("--where", "snr > -1", "--output", "later", "--group", "filter-later", "--to", kafka)
    process = start("filter", kafka, "night-*", *how, out=tmp_path / "out")
    until(lambda: raw_kafka.members(kafka, "filter-later") == 1, "it is a member")
    assert run("send", kafka, "night-1", "--data", visits, "--interval", 0).status == 0
    until(lambda: passed(kafka, ["later"]), "it is read")
    assert stop(process).status == 0
