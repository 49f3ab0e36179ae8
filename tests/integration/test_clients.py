"""The code of docs/clients.md: clients of others read what is sent here, and the other way round.

They are looked for in the Python that runs the tests, or in the one that CLIENTS_PYTHON names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import fastavro
import pytest
from tests.support import raw_kafka, secure_kafka
from tests.support.commands import clean_environment, run, until

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
PYTHON = os.environ.get("CLIENTS_PYTHON", sys.executable)
MODULES = {"confluent-kafka": "confluent_kafka", "FastStream": "faststream", "hop-client": "hop"}
ALERTS = 12

pytestmark = pytest.mark.slow


def blocks(client: str) -> list[str]:
    """The code below a client's heading: what reads, then what writes."""
    (section,) = re.findall(rf"^## {client}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return re.findall(r"^```\w+\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("visit")
    how = ("--visits", 1, "--alerts", ALERTS, "--cutout-size", 21)
    made = run("simulate", folder, *how)
    assert made.status == 0, made.err
    (file,) = folder.glob("*.avro")
    return file.rename(folder / "visit.avro")


@pytest.fixture
def sent(kafka: str, topic: str, visit: Path) -> list[str]:
    """Topics that ``send`` and ``filter`` have written; each has all alerts of the visit."""
    topics = [topic, f"{topic}-filtered"]
    assert run("send", kafka, topic, "--data", visit, "--interval", 0).status == 0
    how = ("--where", "visit > 0", "--output", topics[1], "--cap", 0, "--exit-on-eof")
    assert run("filter", kafka, topic, *how).status == 0
    raw_kafka.make(kafka, f"{topic}-more")
    return topics


def ids(visit: Path) -> list[str]:
    with visit.open("rb") as file:
        return sorted(str(alert["diaSource"]["diaSourceId"]) for alert in fastavro.reader(file))


def placed(code: str, kafka: str, topic: str, more: str) -> str:
    """Return a page's code, with this test's Kafka and topics."""
    for old, new in {"localhost:9092": kafka, "alerts": topic, "more": more}.items():
        code = re.sub(rf"(?<=[\"/ ]){old}(?=[\"/ \n])", new, code)
    return code


@pytest.mark.parametrize("client", MODULES)
def test_python_clients(client: str, kafka: str, sent: list[str], visit: Path) -> None:
    needed = f"import {MODULES[client]}, fastavro, lsst.alert.packet"
    found = subprocess.run([PYTHON, "-c", needed], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"no {client} in {PYTHON}: {found.stderr.splitlines()[-1]}")
    (common,), (reading, writing) = blocks("In Python"), blocks(client)
    more = f"{sent[0]}-more"
    for topic in sent:
        code = placed(common + reading, kafka, topic, more).replace("ada-", f"{topic}-")
        assert sorted(read_by(code, visit.with_name(f"{client}.txt"))) == ids(visit)
    code = placed(common + writing, kafka, topic, more)
    wrote = subprocess.run(
        [PYTHON, "-c", code], cwd=visit.parent, capture_output=True, text=True, timeout=60
    )
    assert wrote.returncode == 0, wrote.stderr
    printed_is(kafka, more, ids(visit))


def read_by(code: str, out: Path) -> list[str]:
    """Run code that reads without end; return the ids that it has printed, as many as are sent."""
    with out.open("w") as file:
        process = subprocess.Popen(
            [PYTHON, "-u", "-c", code],
            stdout=file,
            stderr=subprocess.DEVNULL,
            env=clean_environment(),
        )
    try:
        until(lambda: process.poll() is not None or len(numbers(out)) >= ALERTS, "it has read", 60)
    finally:
        process.kill()
        process.wait()
    return numbers(out)


def numbers(out: Path) -> list[str]:
    return [line for line in out.read_text().splitlines() if line.isdecimal()]


@pytest.mark.skipif(shutil.which("kcat") is None, reason="no kcat: apt install kcat")
def test_login_by_scram(tmp_path: Path) -> None:
    """An old librdkafka cannot, with the right password."""
    (tmp_path / "users").write_text("boss:secret-1\n")
    (tmp_path / "users").chmod(0o600)
    version = subprocess.run(["kcat", "-V"], capture_output=True, text=True).stdout
    (numbers_of,) = re.findall(r"librdkafka (\d+)\.(\d+)\.(\d+)", version)
    is_old = tuple(map(int, numbers_of)) < (2, 6, 1)
    protocol = ("--security-protocol", "SASL_PLAINTEXT")
    with secure_kafka.broker(tmp_path, *protocol, "--users", tmp_path / "users") as address:

        def logged_in(mechanism: str) -> bool:
            login = {"username": "boss", "password": "secret-1", "mechanism": mechanism}
            options = [f"-Xsasl.{name}={value}" for name, value in login.items()]
            command = [
                "kcat",
                "-b",
                address,
                "-L",
                "-m",
                "10",
                "-Xsecurity.protocol=SASL_PLAINTEXT",
            ]
            return subprocess.run([*command, *options], capture_output=True).returncode == 0

        assert logged_in("PLAIN")
        assert logged_in("SCRAM-SHA-512") is not is_old


def printed_is(kafka: str, topic: str, expected: list[str]) -> None:
    printed = run("print", kafka, topic, "--exit-on-eof", "--format", "json")
    assert printed.status == 0, printed.err
    found = [str(each["alert"]["diaSource"]["diaSourceId"]) for each in printed.objects]
    assert sorted(found) == expected


@pytest.mark.skipif(shutil.which("kcat") is None, reason="no kcat: apt install kcat")
def test_kcat(kafka: str, sent: list[str], visit: Path, tmp_path: Path) -> None:
    reading, writing = blocks("kcat")
    more = f"{sent[0]}-more"

    def shell(script: str, topic: str) -> str:
        return subprocess.run(
            ["sh", "-ec", placed(script, kafka, topic, more)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    for topic in sent:
        shown = [line.split() for line in shell(reading, topic).splitlines()]
        there = raw_kafka.read(kafka, topic)
        assert sorted((int(number), int(at), int(size)) for _, number, at, size in shown) == sorted(
            (each.partition, each.offset, len(each.value)) for each in there
        )
        assert len(shown) == ALERTS
    shell(writing, sent[1])
    printed = run("print", kafka, more, "--exit-on-eof", "--format", "json")
    assert (printed.status, len(printed.objects)) == (0, 1), printed.err
    assert str(printed.objects[0]["alert"]["diaSource"]["diaSourceId"]) in ids(visit)
