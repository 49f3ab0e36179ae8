"""The Swarm's stack in containers, on hosts of which two are cut off while visits are sent.

::

    apt-get install podman runc netavark aardvark-dns catatonit debootstrap iproute2
    pip install -e '.[test]'
    python -m deploy.rehearsal.swarm

The services of ``swarm/stack.yaml`` and ``swarm/mirror.yaml`` run in their images, with all their
settings and commands and with ``mirror/mm2.properties``: three hubs with passwords and access
rights, the set-up, the sender, filters 1-100 in two replicas, some of the hundred consumers, the
monitor, and the mirror to a second cluster. Each has an address of its own on one of nine hosts,
and a hub's host and a filters' host are cut off for a while; the mirror is killed. At the end, a
table shows what should have arrived where, and what did. Exit status 1 if something is missing or
duplicated. It runs on Linux, as root, without Docker.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import shutil
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from deploy.rehearsal.account import Account, Arrivals, Row, alerts_in
from deploy.rehearsal.hosts import Hosts, options
from deploy.rehearsal.images import KAFKA
from deploy.rehearsal.podman import (
    ROOT,
    arguments,
    inspected,
    podman,
    rehearse,
    run,
    say,
    until_healthy,
)
from deploy.rehearsal.stack import MIRROR, SWARM, services
from rich.console import Console
from rich.table import Table

from alertstream.kafka.connection import Connection

HUBS = ("kafka1", "kafka2", "kafka3")
NAMES = (*HUBS, "partner", "monitor")
BROKERS = ",".join(f"{hub}:9092" for hub in HUBS)
SECRETS = ("node", "observatory", "subscriber", "partner")
ALERTS_SEEN = re.compile(r'^alertstream_alerts_total\{topic="alerts"\} (\S+)', re.M)
ACCOUNT = re.compile(r"^(Filter\d+)  all visits: (\d+) seen = (\d+) passed", re.M)
MIRRORING = "topic-partitions central->partner"
"""The mirror's log line when it begins to copy."""
SMALLER = {"KAFKA_HEAP_OPTS": "-Xms256m -Xmx768m"}
"""Five Kafkas are on one machine here."""
START_LIMIT = 180.0
"""For a hub, the mirror, the monitor to start, s."""
SEND_LIMIT = 90.0
"""For a visit to be sent, s."""
PATIENCE = 120.0
"""For everything to arrive once the last visit is sent, s."""


@dataclass(frozen=True)
class Plan:
    """The size of a rehearsal.

    :param interval: from visit to visit, s.
    :param filters: replicas of all hundred, each on a host of its own.
    :param consumers: which of the hundred there are.
    :param cut_off: how many visits are sent meanwhile, for each host.
    """

    visits: int = 16
    alerts: int = 60
    interval: float = 3.0
    filters: int = 2
    consumers: tuple[int, ...] = (1, 2, 50, 100)
    partitions: int = 4
    cut_off: int = 6


@dataclass
class Swarm:
    """The stack's services as containers."""

    folder: Path
    plan: Plan
    passwords: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hosts = Hosts(NAMES)
        for name in ("data", "saved"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()
            # The image's user.
            shutil.chown(self.folder / name, 1000)
        variables = {
            "ALERTSTREAM_IMAGE": "alertstream",
            "ALERTSTREAM_PARTITIONS": str(self.plan.partitions),
            "ALERTSTREAM_DATA": str(self.folder / "data"),
            "ALERTSTREAM_SAVED": str(self.folder / "saved"),
            "PARTNER_BROKERS": "partner:9095",
            "PARTNER_PROTOCOL": "SASL_PLAINTEXT",
            "PARTNER_REPLICATION": "1",
        }
        self.stack = {
            name: service
            for file in ("stack.yaml", "mirror.yaml")
            for name, service in services(SWARM / file, variables).items()
        }
        for service in self.stack.values():
            if "KAFKA_HEAP_OPTS" in service["environment"]:
                service["environment"] |= SMALLER
        self.stack["mirror"]["configs"][0]["source"] = MIRROR / "mm2.properties"
        for user in SECRETS:
            self.passwords[user] = secrets.token_hex(24)
            podman("secret", "create", f"{user}-password", "-", input=self.passwords[user])

    def start(self, service: str, host: str | None = None, slot: int = 1, *more: str) -> str:
        """Start a replica of a service on a host; return the container's name."""
        name = service if service in NAMES else f"{service}{slot}"
        self._run(name, host or service, *options(self.stack[service], slot), *more)
        return name

    def _run(self, name: str, host: str, *what: str) -> None:
        network = self.hosts.attach(host, name)
        # As Docker has it, a container knows its own name, too.
        known = [f"--add-host={each}:{self.hosts.addresses[each]}" for each in {*NAMES, name}]
        names = ("--name", name, "--hostname", name, *known)
        podman("run", "--detach", "--network", f"ns:{network}", *names, *what)

    def start_partner(self) -> None:
        """Start the second cluster: `compose.yaml`'s Kafka, where the mirror logs in."""
        compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
        listener = "KAFKA_LISTENER_NAME_MIRROR"
        environment = (
            compose["services"]["kafka"]["environment"]
            | SMALLER
            | {
                "KAFKA_LISTENERS": "CLIENTS://:9092,MIRROR://:9095,CONTROLLER://localhost:9093",
                "KAFKA_ADVERTISED_LISTENERS": "CLIENTS://partner:9092,MIRROR://partner:9095",
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT,"
                "MIRROR:SASL_PLAINTEXT",
                f"{listener}_SASL_ENABLED_MECHANISMS": "SCRAM-SHA-512",
                f"{listener}_SCRAM___SHA___512_SASL_JAAS_CONFIG": "org.apache.kafka.common"
                ".security.scram.ScramLoginModule required;",
            }
        )
        self._run(
            "partner",
            "partner",
            *(f"--env={key}={each}" for key, each in environment.items()),
            KAFKA,
        )

    def let_the_mirror_in(self) -> None:
        """Give the partner's cluster the mirror's user."""
        user = f"SCRAM-SHA-512=[password={self.passwords['partner']}]"
        tool = ("/opt/kafka/bin/kafka-configs.sh", "--bootstrap-server", "localhost:9092")
        change = (
            "--alter",
            "--entity-type",
            "users",
            "--entity-name",
            "mirror",
            "--add-config",
            user,
        )
        podman("exec", "partner", *tool, *change)

    @property
    def filters(self) -> str:
        """The range of filters: ``1-100``."""
        return str(self.stack["filters"]["command"][1])


def log(container: str) -> str:
    """Return what a container has written."""
    ran = run("podman", "logs", container)
    return ran.stdout + ran.stderr


async def until(condition: Callable[[], Any], what: str, limit: float) -> None:
    """Wait for a condition, and let the counting go on.

    :raises SystemExit: it is not true after ``limit`` seconds.
    """
    give_up = time.monotonic() + limit
    while not await asyncio.to_thread(condition):
        if time.monotonic() > give_up:
            raise SystemExit(f"not in {limit:.0f} s: {what}")
        await asyncio.sleep(0.3)


def visits_sent(sender: str) -> list[dict[str, Any]]:
    """The sender's output: an object per visit."""
    lines = run("podman", "logs", sender).stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def seen_by_monitor() -> int | None:
    """Return how many alerts the monitor has seen; None if it does not answer."""
    try:
        with urllib.request.urlopen("http://monitor:9100/metrics", timeout=5) as page:
            found = ALERTS_SEEN.search(page.read().decode())
    except OSError:
        return None
    return int(float(found[1])) if found else 0


def alertstream(folder: Path, *line: object) -> str:
    """Run alertstream in a container that has a folder and no network; return its output."""
    return podman(
        "run", "--rm", "--network=none", f"--volume={folder}:{folder}", "alertstream", *line
    )


@dataclass
class Rehearsal:
    """One run of the stack."""

    swarm: Swarm
    account: Account

    async def run(self) -> list[Row]:
        """Send the visits, inject the faults, and return the account."""
        swarm, plan = self.swarm, self.swarm.plan
        async with self.account.central.counting(), self.account.partner.counting():
            names = await asyncio.to_thread(self._start)
            await until(lambda: MIRRORING in log("mirror1"), "the mirror copies", START_LIMIT)
            for name in names:
                await asyncio.to_thread(until_healthy, name)
            say(f"{len(names)} containers are healthy")
            how = ("--interval", str(plan.interval), "--no-align", "--format", "json")
            sender = swarm.start("sender", "sender", 1, *how)
            await self._sent(sender, 2)
            say("hub1's host is cut off, and the mirror killed")
            swarm.hosts.cut_off("hub1")
            podman("kill", "mirror1")
            await self._sent(sender, 2 + plan.cut_off)
            say("hub1's host is back, and the mirror started again")
            swarm.hosts.plug_in("hub1")
            podman("start", "mirror1")
            await self._sent(sender, 3 + plan.cut_off)
            say("a filters' host is cut off")
            swarm.hosts.cut_off("filters1")
            await self._sent(sender, 3 + 2 * plan.cut_off)
            say("the filters' host is back")
            swarm.hosts.plug_in("filters1")
            await self._sent(sender, plan.visits)
            say("all visits are sent; waiting until they have arrived everywhere")
            begin = time.monotonic()
            with_patience = until(self._arrived, "everything has arrived", PATIENCE)
            try:
                await with_patience
                say(f"everything has arrived, {time.monotonic() - begin:.0f} s later")
            except SystemExit as error:
                say(str(error))
            begin = time.monotonic()
            await asyncio.to_thread(podman, "stop", *names)
            say(f"{len(names)} containers ended in {time.monotonic() - begin:.0f} s")
        visits = visits_sent(sender)
        longest = max(each["seconds"] for each in visits)
        say(f"the longest visit took {longest:.0f} s to be acknowledged")
        self.account.acknowledged = sum(each["acknowledged"] for each in visits)
        well = sum(inspected(each)["State"]["ExitCode"] == 0 for each in names)
        return [
            *self.account.rows(),
            self._accounted(),
            Row("containers ended well", len(names), well),
        ]

    def _start(self) -> list[str]:
        """Start what follows the stream; return the containers' names."""
        swarm, plan = self.swarm, self.swarm.plan
        swarm.start("mirror", "sender")
        names = [swarm.start("filters", f"filters{n}", n) for n in range(1, plan.filters + 1)]
        names += [swarm.start("consumers", f"consumers{n % 2 + 1}", n) for n in plan.consumers]
        return [*names, swarm.start("monitor", "sender", 1, "--refresh", "1")]

    async def _sent(self, sender: str, visits: int) -> None:
        limit = SEND_LIMIT + visits * self.swarm.plan.interval
        await until(lambda: len(visits_sent(sender)) >= visits, f"{visits} visits are sent", limit)

    def _arrived(self) -> bool:
        self.account.seen = seen_by_monitor() or 0
        return self.account.everywhere()

    def _accounted(self) -> Row:
        """What the filters say themselves: all members together have seen each alert once."""
        seen = Counter[str]()
        for number in range(1, self.swarm.plan.filters + 1):
            for name, count, _ in ACCOUNT.findall(log(f"filters{number}")):
                seen[name] += int(count)
        sent = Counter(dict.fromkeys(self.account.passed, self.account.sent.total()))
        return Row.compare("seen, say the filters", sent, seen)


def login(user: str, password: str) -> Connection:
    """Return how a user connects to the hubs."""
    return Connection(BROKERS, "SASL_PLAINTEXT", "PLAIN", user, password)


async def follow(swarm: Swarm) -> list[Row]:
    """Bring the stack up, and rehearse."""
    plan, data = swarm.plan, swarm.folder / "data"
    say(f"simulating {plan.visits} visits of {plan.alerts} alerts")
    size = (
        "--visits",
        plan.visits,
        "--alerts",
        plan.alerts,
        "--history",
        "0-4",
        "--cutout-size",
        21,
    )
    alertstream(data, "simulate", data, *size)
    sent = sum(map(alerts_in, data.glob("*.avro")), start=Counter[str]())
    say("starting three hubs, and the partner's cluster")
    for number, hub in enumerate(HUBS, start=1):
        swarm.start(hub, f"hub{number}")
    swarm.start_partner()
    for name in (*HUBS, "partner"):
        await until(
            lambda name=name: "Kafka Server started" in log(name),
            f"{name} has started",
            START_LIMIT,
        )
    swarm.let_the_mirror_in()
    say("setting up")
    swarm.start("setup", "sender")
    if podman("wait", "setup1") != "0":
        raise SystemExit(f"setup has failed:\n{log('setup1')}")
    say("starting the mirror, filters, consumers, and the monitor")
    ran = alertstream(data, "filter", "--dry-run", data, swarm.filters, "--format", "json")
    each = [json.loads(line) for line in ran.splitlines()]
    account = Account(
        sent=sent,
        passed={line["filter"]: line["passed"] for line in each if line.get("final")},
        saved={f"Filter{n:03}": swarm.folder / f"saved/Filter{n:03}.avro" for n in plan.consumers},
        central=Arrivals(login("observatory", swarm.passwords["observatory"])),
        partner=Arrivals(Connection("partner:9092")),
    )
    return await Rehearsal(swarm, account).run()


def show(rows: Iterable[Row], console: Console) -> None:
    """Write the account as a table."""
    table = Table(title="what has arrived")
    table.add_column("", no_wrap=True)
    for column in ("expected", "there", "missing", "extra"):
        table.add_column(column, justify="right")
    table.add_column("")
    for row in rows:
        counts = (row.expected, row.once, row.expected - row.once, row.too_many)
        table.add_row(row.what, *map(str, counts), "right" if row.right else "WRONG")
    console.print(table)


def work(folder: Path) -> int:
    """Rehearse; return 1 if a count is wrong."""
    # Unreachable hubs are the point of this.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    begin = time.monotonic()
    rows = asyncio.run(follow(Swarm(folder, Plan())))
    show(rows, Console(width=100))
    say(f"{time.monotonic() - begin:.0f} s")
    return int(not all(row.right for row in rows))


if __name__ == "__main__":
    name = "deploy.rehearsal.swarm"
    raise SystemExit(rehearse(name, arguments(name, __doc__).parse_args().store, work))
