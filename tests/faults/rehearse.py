"""The Swarm's topology on this machine, with a hub and the mirror killed in the middle.

::

    pip install -e '.[test]'
    python -m tests.faults.rehearse

The services of ``swarm/stack.yaml`` and ``swarm/mirror.yaml`` run with all their settings and
commands, and with ``mirror/mm2.properties``, as processes instead of containers: three hubs with
passwords and access rights, the set-up, the sender, filters 1-100 in two replicas, some of the
hundred consumers, the monitor, and the mirror to a second cluster. Visits of small simulated alerts
are sent. Midway a hub and the mirror are killed (SIGKILL); later they are restarted. At the end, a
table shows what should have arrived where, and what did. Exit status 1 if something is missing or
duplicated.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tests.support.deploy.arrivals import Account, Arrivals, Row, alerts_in
from tests.support.deploy.machine import HUBS, METRICS, Machine
from tests.support.deploy.stack import MIRROR, MIRROR_JARS, SWARM, Service, services

from alertstream.errors import AlertStreamError
from alertstream.local.broker.cluster import BrokerOptions, LocalBroker, local_broker
from alertstream.local.broker.java import JAR_LOCK, fetch_jars, find_java, java_command
from alertstream.local.broker.node import HOST
from alertstream.local.broker.security import ListenerSecurity
from alertstream.system.process import Child

ROOT = Path(__file__).parents[2]
MIRROR_MAKER = "org.apache.kafka.connect.mirror.MirrorMaker"
TOOL_JARS = ROOT / "bench" / "kafka-tools.lock.toml"
TOOLS = {
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-acls.sh": "org.apache.kafka.tools.AclCommand",
}
ALERTS_SEEN = re.compile(r'^alertstream_alerts_total\{topic="alerts"\} (\S+)', re.M)
RESTART_DELAY = 1.0
"""Until a failed service is started again, s."""
MIRRORING = "topic-partitions central->partner"
"""The mirror's log line when it begins to copy."""
START_LIMIT = 60.0
"""For the mirror and the monitor to start, s."""
SEND_LIMIT = 60.0
"""For a visit to be sent, s."""
PATIENCE = 90.0
"""For everything to arrive once the last visit is sent, s."""


@dataclass(frozen=True)
class Plan:
    """The size of a rehearsal.

    :param interval: from visit to visit, s.
    :param filters: replicas of all hundred.
    :param consumers: which of the hundred there are.
    :param kill: which hub is killed.
    :param keep: a folder for logs and data; None: one that is removed at the end.
    """

    visits: int = 6
    alerts: int = 80
    interval: float = 3.0
    filters: int = 2
    consumers: Sequence[int] = (1, 2, 50, 100)
    partitions: int = 2
    kill: int = 1
    keep: Path | None = None


class Swarm:
    """The stack's services as processes; as in Swarm, what fails is started again."""

    def __init__(self, machine: Machine, stack: dict[str, Service]) -> None:
        self._machine = machine
        self._stack = stack
        self._java = find_java(None)
        self._replicas: dict[str, Child] = {}
        self._restarts: set[asyncio.Task[None]] = set()
        self._ending = False

    @property
    def filters(self) -> str:
        """The range of filters: ``1-100``."""
        return str(self._stack["filters"]["command"][-1])

    def hubs(self) -> LocalBroker:
        """Make the three hubs."""
        java = self._command(JAR_LOCK)
        named = enumerate(HUBS, start=1)
        return LocalBroker(
            [self._machine.hub(each, self._stack[name], java) for each, name in named]
        )

    def make_tools(self) -> None:
        """Write the scripts of Kafka's image that the stack calls."""
        folder = self._machine.folder / "bin"
        folder.mkdir()
        java = shlex.join(self._command(TOOL_JARS))
        for script, main in TOOLS.items():
            (folder / script).write_text(f'#!/bin/sh\nexec {java} {main} "$@"\n')
            (folder / script).chmod(0o755)

    async def run(self, service: str) -> None:
        """Run a service to its end.

        :raises SystemExit: it has failed.
        """
        child = self._machine.child(service, self._stack[service])
        await child.launch()
        assert child.watch and child.process
        try:
            await child.watch
        finally:
            # A script's children outlive it.
            with suppress(ProcessLookupError):
                os.killpg(child.process.pid, signal.SIGKILL)
        if child.process.returncode:
            raise SystemExit(f"{service} has failed:\n{child.log()}")

    async def start(self, service: str, *more: str, number: int = 1) -> Child:
        """Start a replica of a service, and again whenever it fails, if the stack says so."""
        name = f"{service}-{number}"
        child = self._machine.child(name, self._stack[service], *more, number=number)
        policy = self._stack[service]["deploy"]["restart_policy"]["condition"]
        await child.launch(partial(self._failed, child) if policy != "none" else lambda: None)
        self._replicas[name] = child
        return child

    async def start_mirror(self) -> Child:
        """Start the mirror, with its settings."""
        settings = self._machine.here((MIRROR / "mm2.properties").read_text(encoding="utf-8"))
        (self._machine.folder / "mm2.properties").write_text(settings)
        program = [*self._command(MIRROR_JARS), MIRROR_MAKER]
        service = self._stack["mirror"] | {"entrypoint": program, "command": ["mm2.properties"]}
        child = self._machine.child("mirror", service)
        await child.launch()
        return child

    async def end(self, how: signal.Signals) -> dict[str, int | None]:
        """End all replicas; return the exit status of each."""
        self._ending = True
        ends = (child.end(how) for child in self._replicas.values())
        return dict(zip(self._replicas, await asyncio.gather(*ends), strict=True))

    def _failed(self, child: Child) -> None:
        async def again() -> None:
            await asyncio.sleep(RESTART_DELAY)
            if not self._ending:
                await child.launch(partial(self._failed, child))

        if child.process and child.process.returncode and not self._ending:
            self._restarts.add(asyncio.create_task(again()))

    def _command(self, lock: Path) -> list[str]:
        jars = fetch_jars(lock, notice=say)
        return java_command(self._java, jars)


def say(text: str) -> None:
    """Report progress."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr)


def simulate(machine: Machine, plan: Plan) -> Counter[str]:
    """Simulate the visits; return the digests of all alerts."""
    size = ("--visits", plan.visits, "--alerts", plan.alerts, "--history", "0-4")
    _alertstream("simulate", machine.here("/data"), *size, "--cutout-size", 21)
    files = Path(machine.here("/data")).glob("*.avro")
    return sum(map(alerts_in, files), start=Counter())


def dry_run(machine: Machine, filters: str) -> dict[str, int]:
    """Return how many alerts pass each filter, in one process, without Kafka."""
    lines = _alertstream("filter", "--dry-run", machine.here("/data"), filters, "--format", "json")
    each = [json.loads(line) for line in lines.splitlines()]
    return {line["filter"]: line["passed"] for line in each if line.get("final")}


def _alertstream(*arguments: object) -> str:
    program = str(Path(sys.executable).with_name("alertstream"))
    ran = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(ran.stderr)
    return ran.stdout


def partner_users(machine: Machine) -> Path:
    """Write the users of the partner's cluster: the mirror."""
    users = machine.folder / "partner-users"
    users.touch(mode=0o600)
    users.write_text(f"mirror:{machine.secret('partner').read_text()}\n")
    return users


async def until(condition: Callable[[], Any], limit: float) -> bool:
    """Wait for a condition; return whether it came true in time, in seconds."""
    give_up = time.monotonic() + limit
    while not (true := condition()) and time.monotonic() < give_up:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    return bool(true)


def visits_sent(sender: Child) -> list[dict[str, Any]]:
    """The sender's output: an object per visit."""
    whole, _, _ = sender.log().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]


def metrics(port: str) -> int | None:
    """Return how many alerts the monitor has seen; None if it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5) as page:
            found = ALERTS_SEEN.search(page.read().decode())
    except OSError:
        return None
    return int(float(found[1])) if found else 0


@dataclass
class Rehearsal:
    """One run of the topology."""

    plan: Plan
    machine: Machine
    swarm: Swarm
    hubs: LocalBroker
    account: Account

    async def run(self) -> list[Row]:
        """Send the visits, inject the faults, and return the account."""
        plan = self.plan
        partner = self.account.partner
        async with self.account.central.counting(), partner.counting():
            try:
                mirror = await self.swarm.start_mirror()
                for number in range(1, plan.filters + 1):
                    await self.swarm.start("filters", number=number)
                for number in plan.consumers:
                    await self.swarm.start("consumers", number=number)
                await self.swarm.start("monitor", "--refresh", "1")
                await self._started(mirror)
                how = ("--interval", str(plan.interval), "--no-align", "--format", "json")
                sender = await self.swarm.start("sender", *how)
                await self._sent(sender, plan.visits // 3)
                await until(partner.count, START_LIMIT)
                say(f"killing hub {plan.kill} and the mirror")
                await asyncio.gather(self.hubs.kill(plan.kill), mirror.end(signal.SIGKILL))
                await self._sent(sender, 2 * plan.visits // 3)
                say(f"starting hub {plan.kill} and the mirror again")
                await asyncio.gather(self.hubs.start(plan.kill), mirror.launch())
                await self._sent(sender, plan.visits)
                say("all visits are sent; waiting until they have arrived everywhere")
                await until(self._arrived, PATIENCE)
                say("stopping everything")
                await mirror.end(signal.SIGKILL)
            except BaseException:
                await self.swarm.end(signal.SIGKILL)
                raise
            ended = await self.swarm.end(signal.SIGTERM)
        self.account.acknowledged = sum(each["acknowledged"] for each in visits_sent(sender))
        well = sum(status == 0 for status in ended.values())
        return [*self.account.rows(), Row("processes ended well", len(ended), well)]

    async def _started(self, mirror: Child) -> None:
        """Wait for the mirror and the monitor, which must see the first visit."""
        address = self.machine.here(str(METRICS))
        for name, condition in {
            "mirror": lambda: MIRRORING in mirror.log(),
            "monitor": lambda: metrics(address) is not None,
        }.items():
            if not await until(condition, START_LIMIT):
                raise SystemExit(f"the {name} does not start")

    async def _sent(self, sender: Child, visits: int) -> None:
        limit = SEND_LIMIT + visits * self.plan.interval
        if not await until(lambda: len(visits_sent(sender)) >= visits, limit):
            raise SystemExit(f"the sender makes no progress:\n{sender.log()}")

    def _arrived(self) -> bool:
        self.account.seen = metrics(self.machine.here(str(METRICS))) or 0
        return self.account.everywhere()


async def rehearse(plan: Plan, folder: Path) -> list[Row]:
    """Run the topology, and return the account.

    :raises SystemExit: a part of it cannot be run.
    :raises AlertStreamError: Kafka cannot be fetched or started.
    """
    machine = Machine(folder, temporary=plan.keep is None)
    say(f"simulating {plan.visits} visits of {plan.alerts} alerts")
    sent = simulate(machine, plan)
    users = ListenerSecurity("SASL_PLAINTEXT", users_file=partner_users(machine))
    async with local_broker(BrokerOptions(port=0, security=users), notice=say) as partner:
        say("the partner's cluster is ready; starting three hubs")
        swarm = Swarm(machine, stack_for(plan, partner.bootstrap))
        hubs = swarm.hubs()
        try:
            await asyncio.gather(*(hubs.start(node.number) for node in hubs.nodes))
            say("setting up; starting the mirror, filters, consumers, and the monitor")
            swarm.make_tools()
            await swarm.run("setup")
            account = Account(
                sent=sent,
                passed=dry_run(machine, swarm.filters),
                saved={f"Filter{number:03}": machine.saved(number) for number in plan.consumers},
                central=Arrivals(machine.login("observatory", hubs.bootstrap, "PLAIN")),
                partner=Arrivals(machine.login("partner", partner.bootstrap, "SCRAM-SHA-512")),
            )
            return await Rehearsal(plan, machine, swarm, hubs, account).run()
        finally:
            await asyncio.gather(*(hubs.kill(node.number) for node in hubs.nodes))


def stack_for(plan: Plan, partner: str) -> dict[str, Service]:
    """Return the services of both stack files."""
    variables = {
        "ALERTSTREAM_PARTITIONS": str(plan.partitions),
        "PARTNER_BROKERS": partner,
        "PARTNER_PROTOCOL": "SASL_PLAINTEXT",
        "PARTNER_REPLICATION": "1",
    }
    files = ("stack.yaml", "mirror.yaml")
    return {key: each for file in files for key, each in services(SWARM / file, variables).items()}


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


def plan_from(arguments: Sequence[str] | None) -> Plan:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.rehearse", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    normal, add = Plan(), parser.add_argument
    add("--visits", type=int, default=normal.visits, help="3 or more")
    add("--alerts", type=int, default=normal.alerts, help="in each visit")
    add("--interval", type=float, default=normal.interval, help="seconds from visit to visit")
    add("--filters", type=int, default=normal.filters, help="replicas of the filters")
    add("--consumers", type=int, nargs="+", default=normal.consumers, help="some of 1 to 100")
    add("--partitions", type=int, default=normal.partitions)
    add("--kill", type=int, choices=(1, 2, 3), default=normal.kill, help="the hub to kill")
    add("--keep", type=Path, metavar="FOLDER", help="a new folder for logs and data")
    plan = Plan(**vars(parser.parse_args(arguments)))
    if plan.visits < 3 or not set(plan.consumers) <= set(range(1, 101)):
        parser.error("at least 3 visits, and consumers from 1 to 100")
    return plan


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept:
        kept.mkdir(parents=True)
        yield kept.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def main() -> None:
    """Rehearse, and exit with 1 if a count is wrong."""
    plan = plan_from(None)
    # Unreachable hubs are the point of this.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        with _folder(plan.keep) as folder:
            rows = asyncio.run(rehearse(plan, folder))
    except FileExistsError as error:
        raise SystemExit(f"error: the folder exists · {plan.keep} · choose a new one") from error
    except AlertStreamError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        say("interrupted; nothing is left running")
        raise SystemExit(130) from None
    show(rows, Console())
    raise SystemExit(not all(row.right for row in rows))


if __name__ == "__main__":
    main()
