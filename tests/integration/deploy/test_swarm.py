"""The Swarm's stack and its mirror, read as Docker reads them; deploy/rehearsal runs them whole."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from deploy.rehearsal import stack
from deploy.rehearsal.stack import DEPLOY
from tests.support.commands import COMMAND, clean_environment

ROOT = DEPLOY.parent
PARTNER = {"PARTNER_BROKERS": "kafka.partner.example:9092"}
STACK = stack.services(stack.SWARM / "stack.yaml", {})
MIRRORING = stack.services(stack.SWARM / "mirror.yaml", PARTNER)
FILES = ("stack.yaml", "mirror.yaml")
COMMANDS = ("sender", "filters", "consumers", "monitor")


@pytest.mark.parametrize("service", COMMANDS)
def test_a_command_is_one_that_alertstream_takes(service: str, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("right")
    places = {
        # Nothing listens there: a command line that is wrong never comes as far as to notice.
        r"kafka\d:9092": "127.0.0.1:1",
        r"/run/secrets/[\w-]+": str(password),
        r"/data\b": str(ROOT / "data"),
        r"/saved\b": str(tmp_path),
        r"\{\{.Task.Slot\}\}": "7",
        r"\b9100\b": "0",
    }

    def here(text: str) -> str:
        for there, place in places.items():
            text = re.sub(there, place, text)
        return text

    variables = {key: here(each) for key, each in STACK[service]["environment"].items()}
    line = [*map(here, stack.command_line(STACK[service]))]
    path = f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}"
    environment = clean_environment(PATH=path, **variables)
    ran = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True)
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
