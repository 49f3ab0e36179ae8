"""Each command with the rights that ``doctor --acls`` lists: works, and not with one less."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.support.commands import Finished, run
from tests.support.credentials import USERS, Files
from tests.support.secure_kafka import admin, broker, secured

import alertstream
from alertstream.kafka.admin import Acl, set_acls

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[3] / "data"
HOW = ("--cap", 1, "--exit-on-eof", "--where", "snr > 0")
COMMANDS = {
    "send": ("send", "{topic}", "--interval", 0, "--limit", 1),
    "filter": ("filter", "{topic}", *HOW, "--output", "{output}"),
    "print --group": ("print", "{topic}", "--exit-on-eof", "--group", "{group}"),
    "notify": ("notify", "{topic}", "--exec", "true", "--exit-on-eof", "--group", "{group}"),
    "monitor": ("monitor", "{topic}", "--exit-on-eof", "--format", "json"),
    "load": ("load", "{topic}", "--exit-on-eof", "--subscribers", 1),
    "doctor": ("doctor", "{topic}"),
}
"""What of a command uses each of its rights."""
numbers = count()


@dataclass
class Secure:
    address: str
    files: Files

    @property
    def config(self) -> str:
        return f"""
            broker = "{self.address}"
            security_protocol = "SASL_SSL"
            ca_file = "{self.files / "ca.pem"}"
            """

    def profiles(self) -> Path:
        """``ada`` reads, ``writer`` writes, ``admin`` may do everything."""
        parts = (
            f'[profiles.{name}]{self.config}\nusername = "{name}"\n'
            f'password_file = "{self.files / f"{name}.password"}"\n'
            for name in USERS
        )
        return self.files.write("profiles.toml", "".join(parts))

    def run(self, *given: object, user: str) -> Finished:
        return run(*given, "--profile", user, ALERTSTREAM_CONFIG=str(self.profiles()), limit=60)

    def allow(self, rights: list[Acl]) -> None:
        asyncio.run(set_acls(admin(self.address, self.files), rights))


@pytest.fixture(scope="module")
def secure(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("rights")
    with broker(folder, *secured(files)) as address:
        yield Secure(address, files)


@dataclass
class Case:
    """A command on topics and groups of its own, which are there as far as it needs them."""

    secure: Secure
    name: str
    to: bool = False

    def __post_init__(self) -> None:
        self.number = next(numbers)
        self.names = {
            "topic": f"alerts-{self.number}",
            "group": f"ours-{self.number}",
            "output": f"Own-{self.number}",
        }
        if self.name != "send":
            user = admin(self.secure.address, self.secure.files)
            sent = asyncio.run(alertstream.send(user, self.names["topic"], DATA, limit=1))
            assert sent.acknowledged > 0, sent.error
        if self.name == "filter":
            asyncio.run(write_junk(self.secure, self.names["topic"]))

    def as_here(self, right: Acl, there: Case) -> Acl:
        """What another case needs, of this one."""
        return right._replace(name=right.name.replace(f"-{there.number}", f"-{self.number}"))

    def _line(self, name: str) -> list[str]:
        return [str(each).format(**self.names) for each in COMMANDS[name]]

    def _more(self) -> list[str]:
        more = ["--group", self.names["group"]] * (self.name == "filter")
        return [*more, *(["--to", "writer"] if self.to else [])]

    def rights(self) -> list[Acl]:
        """What doctor says."""
        asked = ("--acls", "--output", self.names["output"], "--group", self.names["group"])
        to = ("--to", "writer") if self.to else ()
        listed = self.secure.run(
            "doctor", self.names["topic"], *asked, *to, "--format", "json", user="ada"
        )
        assert (listed.status, listed.err) == (0, ""), listed
        found = []
        for each in listed.objects:
            if each["command"] != self.name.split()[0]:
                continue
            if each["optional"] and self.name != "print --group":
                continue
            kind, name = each["resource"].lower().replace("_", "-"), each["name"]
            name += "*" * (each["pattern"] == "PREFIXED")
            user = each["principal"].removeprefix("User:")
            found += [Acl(user, one.lower(), kind, name) for one in each["operations"]]
        return found

    def run(self) -> Finished:
        return self.secure.run(*self._line(self.name), *self._more(), user="ada")


CASES = [(name, False) for name in COMMANDS] + [("filter", True)]


@pytest.mark.parametrize(("name", "to"), CASES)
def test_a_command_needs_these_rights_and_no_others(secure: Secure, name: str, to: bool) -> None:
    first = Case(secure, name, to)
    wanted = first.rights()
    secure.allow(wanted)
    well = first.run()
    assert well.status == (3 if name == "filter" else 0), well
    for missing in range(len(wanted)):
        case = Case(secure, name, to)
        rights = [case.as_here(right, first) for right in wanted]
        lacking = rights.pop(missing)
        if lacking.operation == "alter":
            asyncio.run(make(case.secure, lacking.name))
        secure.allow(rights)
        ended = case.run()
        assert ended.status == 1, (lacking, ended)
        if name == "doctor":
            said = [line for line in ended.lines if line.startswith("BAD")]
        else:
            # Notices come before, where it is tried again.
            said = [line for line in ended.err.splitlines() if line.startswith("error: ")]
        assert len(said) == 1, (lacking, ended)
        assert lacking.name.removesuffix("*") in said[0], (lacking, said)
        assert lacking.operation in said[0].lower(), (lacking, said)


async def write_junk(secure: Secure, topic: str) -> None:
    """What no filter can decode."""
    settings = admin(secure.address, secure.files).settings()
    async with AIOKafkaProducer(**settings) as producer:
        await producer.send_and_wait(topic, b"junk")


async def make(secure: Secure, topic: str) -> None:
    """A topic of one partition."""
    client = AIOKafkaAdminClient(**admin(secure.address, secure.files).settings())
    await client.start()
    try:
        await client.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await client.close()
