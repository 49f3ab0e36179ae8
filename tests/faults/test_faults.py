"""Fault injection into a cluster and its users: nothing is lost, nothing is duplicated.

Each test adds a line to the table that ends the session: fault, alerts sent, received once, lost,
duplicated, as counted at a subscriber.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.cluster import NODES, Cluster, running_cluster
from tests.support.commands import Finished, finish, run, start, stop, until
from tests.support.samples import bodies_in

from alertstream.kafka.messages import ORIGIN

pytestmark = pytest.mark.slow

VISITS, ALERTS, REPEAT = 3, 120, 8
SENT = VISITS * ALERTS * REPEAT
EVERYTHING = "diaSource.snr > -1 or not diaSource.snr > -1"
BIG = "snr > 5"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


_launched: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def healed(cluster: Cluster) -> Iterator[None]:
    """Before the next test, all nodes are up, and nothing of this one runs."""
    yield
    for process in _launched:
        if process.returncode is None:
            process.kill()
            # Shown if the test has failed.
            sys.stdout.write(f"{process.args}: {process.communicate()}\n")
    _launched.clear()
    cluster.heal()


def launch(*arguments: object, out: Path | None = None) -> subprocess.Popen[str]:
    process = start(*arguments, out=out)
    _launched.append(process)
    return process


Account = Callable[[Iterable[Any], Iterable[Any]], None]


@pytest.fixture
def account(request: pytest.FixtureRequest, record_property: Callable[[str, Any], None]) -> Account:
    """Check that a subscriber received everything once, and add it to the table."""

    def check(sent: Iterable[Any], received: Iterable[Any]) -> None:
        wanted, found = Counter(sent), Counter(received)
        lost, doubled = (wanted - found).total(), (found - wanted).total()
        fault = request.node.originalname.removeprefix("test_").replace("_", " ")
        line = (fault, wanted.total(), wanted.total() - lost, lost, doubled)
        record_property("account", line)
        assert wanted
        assert (lost, doubled) == (0, 0)

    return check


def bodies(visits: Path) -> list[bytes]:
    """All alerts, as often as they are sent."""
    each: list[bytes] = []
    for path in sorted(visits.glob("*.avro")):
        each += bodies_in(path)
    return each * REPEAT


def received(messages: Iterable[Any]) -> list[bytes]:
    return [message.value[5:] for message in messages]


def places(messages: Iterable[Any]) -> list[tuple[int, int]]:
    return [(message.partition, message.offset) for message in messages]


def origins(messages: Iterable[Any]) -> list[tuple[int, int]]:
    """Where filtered messages come from."""
    found = [json.loads(dict(message.headers)[ORIGIN]) for message in messages]
    return [(origin["partition"], origin["offset"]) for origin in found]


def start_send(
    cluster: Cluster, topic: str, visits: Path, interval: float = 0, repeat: int = REPEAT
) -> subprocess.Popen[str]:
    how = ("--interval", interval, "--no-align", "--repeat", repeat, "--format", "json")
    return launch("send", cluster.address, topic, "--data", visits, *how)


@contextmanager
def frozen(cluster: Cluster, node: int) -> Iterator[None]:
    """Let a node do nothing meanwhile, not even close its connections."""
    pid = cluster.broker.pids[node]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def one_visit_is_sent(sending: subprocess.Popen[str]) -> None:
    assert sending.stdout is not None
    assert sending.stdout.readline()


def all_is_sent(sending: subprocess.Popen[str], alerts: int = SENT, limit: float = 150) -> None:
    sent = finish(sending, limit)
    assert sent.status == 0, sent.err
    assert f"sent: {alerts} of {alerts} alerts acknowledged" in sent.err


def start_filter(cluster: Cluster, topic: str, *more: object) -> subprocess.Popen[str]:
    which = ("--where", EVERYTHING, "--output", f"{topic}-passed", "--cap", 0)
    group = ("--group", f"{topic}-group", "--format", "json")
    return launch("filter", cluster.address, topic, *(more or which), *group)


def until_filtered(cluster: Cluster, topic: str, limit: float = 90) -> None:
    until(lambda: cluster.behind(f"{topic}-group", topic) == 0, "all is filtered", limit)


def check_account(ended: Finished) -> dict[str, Any]:
    """The closing account of a filter that lets everything pass adds up."""
    total = ended.objects[-1]
    assert total["final"] and total["seen"] == total["passed"] > 0
    return total


def test_broker_killed_while_sending(
    cluster: Cluster, topic: str, visits: Path, account: Account
) -> None:
    cluster.make(topic)
    sending = start_send(cluster, topic, visits)
    one_visit_is_sent(sending)
    cluster.kill(cluster.leader(topic))
    all_is_sent(sending)
    account(bodies(visits), received(cluster.read(topic)))


@pytest.mark.hostile("7: a broker frozen for 55 s")
def test_broker_frozen_while_sending(
    cluster: Cluster, topic: str, visits: Path, account: Account
) -> None:
    cluster.make(topic, replication=1)
    sending = start_send(cluster, topic, visits)
    one_visit_is_sent(sending)
    with frozen(cluster, cluster.leader(topic)):
        time.sleep(55)
    all_is_sent(sending)
    account(bodies(visits), received(cluster.read(topic)))


@pytest.mark.hostile("7: a partition without a leader for 65 s")
def test_partition_without_leader_while_sending(
    cluster: Cluster, topic: str, visits: Path, account: Account
) -> None:
    cluster.make(topic, replication=1)
    sending = start_send(cluster, topic, visits)
    one_visit_is_sent(sending)
    leader = cluster.leader(topic)
    cluster.kill(leader)
    time.sleep(65)
    cluster.start(leader)
    all_is_sent(sending)
    account(bodies(visits), received(cluster.read(topic)))


@pytest.mark.hostile("15: members that start while one of three brokers does not answer")
@pytest.mark.parametrize("node", NODES)
def test_start_while_a_broker_is_frozen(
    cluster: Cluster, topic: str, visits: Path, account: Account, node: int
) -> None:
    cluster.make(topic)
    few = VISITS * ALERTS
    with frozen(cluster, node):
        filtering = start_filter(cluster, topic)
        printing = launch("print", cluster.address, f"{topic}-pass*", "-n", few, "--quiet")
        all_is_sent(start_send(cluster, topic, visits, repeat=1), few, limit=60)
        printed = finish(printing, 60)
        assert printed.status == 0, printed.err
    assert stop(filtering).status == 0
    account(places(cluster.read(topic)), origins(cluster.read(f"{topic}-passed")))


def test_brokers_killed_in_turns_while_filtering(
    cluster: Cluster, topic: str, visits: Path, account: Account
) -> None:
    cluster.make(topic)
    filtering = start_filter(cluster, topic)
    sending = start_send(cluster, topic, visits, interval=0.2)
    one_visit_is_sent(sending)
    until(lambda: cluster.read(f"{topic}-passed"), "it filters")
    coordinator = cluster.coordinator(f"{topic}-group")
    cluster.kill(coordinator)
    cluster.start(coordinator)
    cluster.kill(coordinator % len(NODES) + 1)
    all_is_sent(sending)
    until_filtered(cluster, topic)
    ended = stop(filtering)
    assert ended.status == 0, ended.err
    assert check_account(ended)["seen"] == SENT
    account(places(cluster.read(topic)), origins(cluster.read(f"{topic}-passed")))


def test_filter_killed_ten_times(
    cluster: Cluster, topic: str, visits: Path, account: Account
) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    cluster.make(topic)
    sending = start_send(cluster, topic, visits, interval=0.8)
    one_visit_is_sent(sending)
    for _ in range(10):
        filtering = start_filter(cluster, topic)
        time.sleep(rng.uniform(0.8, 2.2))
        filtering.kill()
        finish(filtering)
    all_is_sent(sending)
    filtering = start_filter(cluster, topic)
    until_filtered(cluster, topic)
    assert stop(filtering).status == 0
    account(places(cluster.read(topic)), origins(cluster.read(f"{topic}-passed")))


def test_filter_frozen_until_another_has_its_partitions(
    cluster: Cluster, topic: str, visits: Path, account: Account
) -> None:
    cluster.make(topic)
    frozen = start_filter(cluster, topic)
    sending = start_send(cluster, topic, visits, interval=0.1)
    until(lambda: cluster.read(f"{topic}-passed"), "it filters")
    frozen.send_signal(signal.SIGSTOP)
    other = start_filter(cluster, topic)
    all_is_sent(sending)
    until_filtered(cluster, topic)
    frozen.send_signal(signal.SIGCONT)
    assert frozen.stderr is not None
    assert "read again" in frozen.stderr.readline()
    # Its open transaction is aborted then; until that, nothing after it can be read.
    until(lambda: len(cluster.read(f"{topic}-passed")) >= SENT, "all can be read")
    account(places(cluster.read(topic)), origins(cluster.read(f"{topic}-passed")))
    assert stop(other).status == stop(frozen).status == 0


def test_whole_cluster_down_and_up(
    cluster: Cluster, topic: str, visits: Path, account: Account, tmp_path: Path
) -> None:
    cluster.make(topic)
    lines, figures = tmp_path / "printed", tmp_path / "watched"
    as_json = ("--format", "json")
    filtering = start_filter(cluster, topic)
    printing = launch("print", cluster.address, topic, *as_json, "--fields", "snr", out=lines)
    watching = launch("monitor", cluster.address, topic, *as_json, out=figures)
    sending = start_send(cluster, topic, visits, interval=0.2)
    until(lambda: cluster.read(f"{topic}-passed"), "it filters")
    until(lambda: lines.stat().st_size and figures.stat().st_size, "others read, too")
    cluster.kill(*NODES)
    time.sleep(5)
    cluster.start(*NODES)
    all_is_sent(sending)
    until_filtered(cluster, topic)
    ends = [stop(each) for each in (filtering, printing, watching)]
    for ended in ends:
        assert ended.status == 0, ended.err
        assert ended.err.count("no connection to Kafka") == 1, ended.err
        assert ended.err.count("reconnected to Kafka") == 1
    assert check_account(ends[0])["seen"] == SENT
    final = json.loads(figures.read_text().splitlines()[-1])
    assert final["topics"][topic]["alerts"] == SENT
    printed = [json.loads(line) for line in lines.read_text().splitlines()]
    sent = places(cluster.read(topic))
    account(sent, [(line["partition"], line["offset"]) for line in printed])
    account(sent, origins(cluster.read(f"{topic}-passed")))


def test_stopped_at_any_moment(
    cluster: Cluster, topic: str, visits: Path, account: Account
) -> None:
    cluster.make(topic)
    sending = start_send(cluster, topic, visits, interval=0.4)
    one_visit_is_sent(sending)
    printed: list[tuple[int, int]] = []
    names = ("--group", f"{topic}-print", "--format", "json", "--fields", "snr")
    for how in (signal.SIGINT, signal.SIGTERM) * 3:
        filtering = start_filter(cluster, topic)
        printing = launch("print", cluster.address, topic, *names)
        time.sleep(random.uniform(0.3, 2.5))
        ended = stop(printing, how)
        assert ended.status == 0, ended.err
        printed += [(each["partition"], each["offset"]) for each in ended.objects]
        ended = stop(filtering, how)
        assert ended.status == 0, ended.err
    all_is_sent(sending)
    filtering = start_filter(cluster, topic)
    until_filtered(cluster, topic)
    assert stop(filtering).status == 0
    rest = run("print", cluster.address, topic, *names, "--exit-on-eof")
    printed += [(each["partition"], each["offset"]) for each in rest.objects]
    account(places(cluster.read(topic)), origins(cluster.read(f"{topic}-passed")))
    account(places(cluster.read(topic)), printed)


def test_cap_holds_over_members_and_restarts(
    cluster: Cluster, topic: str, visits: Path, account: Account
) -> None:
    cluster.make(topic)
    all_is_sent(start_send(cluster, topic, visits))
    which = ("--where", BIG, "--output", f"{topic}-passed", "--cap", 15)
    lasting = start_filter(cluster, topic, *which)
    for _ in range(3):
        filtering = start_filter(cluster, topic, *which)
        time.sleep(random.uniform(0.6, 1.5))
        filtering.kill()
        finish(filtering)
    filtering = start_filter(cluster, topic, *which)
    until_filtered(cluster, topic)
    assert [stop(each).status for each in (lasting, filtering)] == [0, 0]
    shown = run(
        *("print", cluster.address, f"{topic}-passed", "--exit-on-eof"),
        *("--format", "json", "--fields", "visit"),
    )
    visits_of = Counter(each["alert"]["visit"] for each in shown.objects)
    assert len(visits_of) == VISITS
    account([*visits_of] * 15, visits_of.elements())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits a running process")
def test_disk_full(topic: str, visits: Path, account: Account, tmp_path: Path) -> None:
    import resource

    with running_cluster(nodes=1, data_dir=tmp_path) as lone:
        lone.make(topic, replication=1)
        limits = (12_000_000, 12_000_000)
        resource.prlimit(lone.broker.pids[1], resource.RLIMIT_FSIZE, limits)
        sending = start_send(lone, topic, visits)
        assert sending.stderr is not None
        assert "no connection to Kafka" in sending.stderr.readline()
        sent = stop(sending)
    assert sent.status == 1
    assert "alerts not acknowledged: " in sent.err
    accounts = sent.objects
    for each in accounts:
        assert each["planned"] == each["acknowledged"] + each["failed"]
    acknowledged = sum(each["acknowledged"] for each in accounts)
    assert 0 < acknowledged < SENT
    with running_cluster(nodes=1, data_dir=tmp_path) as lone:
        kept = places(lone.read(topic))
    # Unacknowledged alerts may be there or not; acknowledged ones are.
    assert len(kept) >= acknowledged
    account(range(acknowledged), range(min(len(kept), acknowledged)))


def test_subscriber_that_does_not_read(
    cluster: Cluster, topic: str, visits: Path, account: Account
) -> None:
    cluster.make(topic)
    which = ("--group", f"{topic}-slow", "--count", SENT)
    printing = launch("print", cluster.address, topic, *which, "--format", "json", "--cutouts")
    all_is_sent(start_send(cluster, topic, visits))
    # A group notices a silent member after 10 s.
    time.sleep(15)
    assert resident(printing) < 200e6
    ended = finish(printing)
    assert ended.status == 0, ended.err
    assert ended.err.startswith(f"{SENT} read = {SENT} printed")
    printed = [(each["partition"], each["offset"]) for each in ended.objects]
    account(places(cluster.read(topic)), printed)


def test_output_that_nobody_takes(cluster: Cluster, topic: str, visits: Path) -> None:
    cluster.make(topic)
    all_is_sent(start_send(cluster, topic, visits))
    which = ("--group", f"{topic}-slow", "--format", "json", "--cutouts")
    printing = launch("print", cluster.address, topic, *which)
    until(lambda: writes(printing), "it waits for its reader")
    printing.send_signal(signal.SIGINT)
    printing.wait(30)
    ended = finish(printing)
    assert ended.status == 1
    assert ended.err == "error: nobody reads the output · see what it is piped to\n"


def writes(process: subprocess.Popen[str]) -> bool:
    """Whether there is unread output in a command's pipe."""
    return bool(select.select([process.stdout], [], [], 0)[0])


def resident(process: subprocess.Popen[str]) -> float:
    """The memory of a process, bytes; 0 where the system does not report it."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        return 0.0
    (line,) = [each for each in status.read_text().splitlines() if each.startswith("VmHWM")]
    return float(line.split()[1]) * 1024
