"""The page "Follow my targets": from its table and its map to messages on a phone, as written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support import raw_kafka
from tests.support.commands import run, start, stop, until
from tests.support.receivers import http_server

PAGE = Path(__file__).parents[2] / "docs" / "follow.md"


def steps(text: str) -> list[tuple[str, str]]:
    """The languages and texts of a page's blocks."""
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_from_an_example_to_the_phone(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets, event = PAGE.read_text(encoding="utf-8").split("\n## Follow a gravitational-wave")
    monkeypatch.chdir(tmp_path)
    with http_server() as phone:
        for chapter in (targets, event):
            messages = follow(chapter, kafka, phone.url, tmp_path, phone.taken)
            assert messages
            for each in messages:
                assert each["path"] == "/ada-targets-7c1f"
                assert each["filename"] == "cutouts.png"
            told = "\n".join(each["title"] + each["message"] for each in messages)
            if chapter is targets:
                assert "my supernova" in told
                assert "my blazar" in told
                assert "my quasar" not in told
                assert "in targets.csv, " in told
            else:
                assert "bayestar.multiorder.fits, probability 0." in told


def follow(
    chapter: str, kafka: str, phone: str, folder: Path, taken: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Do what a chapter says; return the messages that the phone gets."""
    endless = []
    before = len(taken)
    config = folder / "config.toml"
    for language, block in steps(chapter):
        if language == "toml":
            config.write_text(block.replace("ntfys://ntfy.sh", f"ntfy://{phone}"))
            config.chmod(0o600)
        elif language == "python":
            subprocess.run([sys.executable, "-W", "ignore", "-c", block], check=True)
        elif not block.startswith("alertstream"):
            subprocess.run(["sh", "-c", block], check=True)
        else:
            for line in block.replace("\\\n", " ").replace("localhost:9092", kafka).splitlines():
                _, name, *words = shlex.split(line)
                if name == "broker":
                    continue
                _, topic, *options = words
                if name == "send":
                    sent = run(name, kafka, topic, "--interval", "0")
                    assert sent.status == 0, sent.err
                else:
                    until(lambda topic=topic: raw_kafka.describe(kafka, topic), f"there is {topic}")
                    log = folder / f"{name}-{before}"
                    endless.append(start(name, kafka, topic, *options, "--config", config, out=log))
    try:
        until(lambda: sum(map(alerts_in, taken[before:])) >= 2, "the phone has two alerts", 60)
    finally:
        ends = [stop(each) for each in endless]
    assert [each.status for each in ends] == [0, 0], [each.err for each in ends]
    return taken[before:]


def alerts_in(message: dict[str, Any]) -> int:
    found = re.match(r"([\d,]+) alerts in ", message["title"])
    return int(found[1].replace(",", "")) if found else 1
