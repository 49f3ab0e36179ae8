"""The Swarm's stack and its mirror, read as Docker reads them; `rehearse.py` runs them whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.support.deploy import stack
from tests.support.deploy.machine import Machine
from tests.support.deploy.stack import DEPLOY

ROOT = DEPLOY.parent
PARTNER = {"PARTNER_BROKERS": "kafka.partner.example:9092"}
STACK = stack.services(stack.SWARM / "stack.yaml", {})
MIRRORING = stack.services(stack.SWARM / "mirror.yaml", PARTNER)
FILES = ("stack.yaml", "mirror.yaml")
COMMANDS = ("sender", "filters", "consumers", "monitor")


@pytest.mark.parametrize("service", COMMANDS)
def test_a_command_is_one_that_alertstream_takes(service: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    shutil.copy(next((ROOT / "data").glob("*.avro")), tmp_path / "data")
    child = machine.child(service, STACK[service], number=7)
    # Nothing listens there: a command line that is wrong never comes as far as to notice.
    ran = subprocess.run(
        child.command, env=child.environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "Kafka cannot be reached" in ran.stderr


@pytest.mark.skipif(shutil.which("docker") is None, reason="Docker is not installed")
@pytest.mark.parametrize("files", [FILES[:1], FILES])
def test_docker_takes_the_stack(files: tuple[str, ...]) -> None:
    options = [option for file in files for option in ("-c", str(stack.SWARM / file))]
    command = ["docker", "stack", "config", *options]
    ran = subprocess.run(command, env=os.environ | PARTNER, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    services = yaml.safe_load(ran.stdout)["services"]
    # Docker writes variables' dollars as they reach the container.
    for name, service in {**STACK, **(MIRRORING if len(files) == 2 else {})}.items():
        for part in ("entrypoint", "command", "environment"):
            assert services[name].get(part) == service.get(part)


def rehearsal(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.faults.rehearse", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)


def test_a_rehearsal_refuses_what_cannot_be_meant(tmp_path: Path) -> None:
    assert rehearsal("--visits", 2).returncode == 2
    assert rehearsal("--consumers", 101).returncode == 2
    assert rehearsal("--kill", 4).returncode == 2
    kept = rehearsal("--keep", tmp_path)
    assert kept.returncode == 1
    assert kept.stderr == f"error: the folder exists · {tmp_path} · choose a new one\n"


@pytest.mark.slow
def test_every_count_is_right_with_a_hub_and_the_mirror_killed() -> None:
    ran = rehearsal()
    assert ran.returncode == 0, ran.stderr + ran.stdout
    assert "killing hub 1 and the mirror" in ran.stderr
    assert "WRONG" not in ran.stdout
