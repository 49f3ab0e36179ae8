"""The rehearsal of docs/security.md, as it is typed, with the rights of docs/commands/broker.md."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from tests.support.commands import COMMAND, clean_environment, until
from tests.support.registry_service import free_port

DOCS = Path(__file__).parents[3] / "docs"


def blocks(page: str, language: str = "") -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for kind, block in found if kind == language]


@pytest.mark.slow
def test_rehearsal_of_a_secured_stream(tmp_path: Path) -> None:
    first, second = blocks("security.md", "sh")
    port = free_port()
    path = f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}"
    environment = clean_environment(PATH=path, TMPDIR=str(tmp_path))

    def bash(script: str, **more: str) -> tuple[int, str, str]:
        ended = subprocess.run(
            ["bash", "-c", script.replace(":9092", f":{port}")],
            cwd=tmp_path,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return ended.returncode, ended.stdout, ended.stderr

    prepare, serve = first.split("alertstream broker ")
    status, _, err = bash(prepare.replace("pip install trustme && ", ""))
    assert status == 0, err
    (rights,) = (each for each in blocks("commands/broker.md") if each.startswith("# who"))
    with (tmp_path / "users").open("a") as users:
        users.write("filters:passing-on-42\n")
    (tmp_path / "acl").write_text((tmp_path / "acl").read_text() + rights)
    serve = f"exec alertstream broker --port {port} --ready-file ready {serve}"
    broker = subprocess.Popen(["bash", "-c", serve], cwd=tmp_path, env=environment)
    try:
        until(lambda: (tmp_path / "ready").exists() or broker.poll() is not None, "Kafka", 90)
        *good, refused = re.split(r"(?=^alertstream)", second, flags=re.MULTILINE)
        status, _, err = bash("set -e\n" + "".join(good))
        assert status == 0, err
        by_first, by_second = re.findall(r"(\d+) read = \1 printed", err)
        assert by_first == by_second != "0", err
        exports = "".join(line for line in second.splitlines(True) if line.startswith("export"))
        status, _, err = bash(exports + refused)
        assert status == 1
        assert "no right to write" in err
        login = {"ALERTSTREAM_CONFIG": "config.toml", "ALERTSTREAM_PASSWORD": "passing-on-42"}
        how = "--username filters --group ours-1 --exit-on-eof"
        status, _, err = bash(f"alertstream filter 127.0.0.1:9092 alerts 1-2 {how}", **login)
        assert status == 0, err
    finally:
        broker.send_signal(signal.SIGINT)
        assert broker.wait(60) == 0
