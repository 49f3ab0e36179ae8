"""What a local cluster is configured with, and why it has ended."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from alertstream.errors import LocalBrokerError
from alertstream.local.broker.node import (
    BOOTSTRAP_CHECKPOINT,
    STARTED,
    cause_of_exit,
    server_properties,
    write_properties,
)
from alertstream.local.broker.security import SecureListeners
from alertstream.local.broker.users import ScramUsers

TOOL = """#!/bin/sh
[ -e {folder}/fails ] && echo "it failed" && exit 1
echo "$*" >> {folder}/calls
[ -e new ] && cat new >> {folder}/calls
mkdir -p data && echo metadata > data/bootstrap.checkpoint
"""


def test_three_nodes_need_two_copies() -> None:
    properties = server_properties(2, [1, 2, 3], [4, 5, 6])
    assert properties["default.replication.factor"] == "3"
    assert properties["min.insync.replicas"] == "2"


def test_properties_are_private_and_escaped_for_java(tmp_path: Path) -> None:
    path = tmp_path / "server.properties"
    write_properties(path, {"password": 'a"d\\min: ü', "chain": "two\nlines"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == 'password=a\\"d\\\\min: \\u00fc\nchain=two\\nlines\n'


def test_who_lets_everybody_in_has_the_plain_configuration() -> None:
    plain = server_properties(1, [1], [2])
    listeners = SecureListeners("PLAINTEXT", ["127.0.0.1:3"], {}, {})
    assert listeners.properties(1, plain) == plain


def test_the_cause_of_an_exit() -> None:
    log = "\n".join(
        [
            "INFO starting",
            "java.io.IOException: No space left on device",
            "\tat kafka.Kafka.main",
            "org.apache.kafka.common.KafkaException: after it",
        ]
    )
    assert cause_of_exit(log) == "IOException: No space left on device"
    assert cause_of_exit(f"{STARTED}\n{log}") == "KafkaException: after it"
    assert cause_of_exit("Killed by somebody\n\n") == "Killed by somebody"
    assert cause_of_exit("") is None


class TestScramUsers:
    """When and how Kafka's tools are called; here they are a script that keeps its arguments."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "tool").write_text(TOOL.format(folder=tmp_path))
        (tmp_path / "tool").chmod(0o700)
        return tmp_path

    def users(self, folder: Path, **passwords: str) -> ScramUsers:
        return ScramUsers(passwords, [str(folder / "tool")], folder, temporary=False)

    def calls(self, folder: Path) -> list[str]:
        path = folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def update(self, folder: Path, **passwords: str) -> dict[str, set[str]]:
        """Update the users; return the users that were set, and what for."""
        asyncio.run(self.users(folder, **passwords).update("127.0.0.1:1", {}))
        lines = self.calls(folder)
        found: dict[str, set[str]] = {}
        for command, new in zip(lines[::2], lines[1::2], strict=True):
            user = command.split("--entity-name ")[1].split()[0]
            found.setdefault(user, set()).add(new)
        return found

    def test_no_tool_where_everybody_is_let_in(self, folder: Path) -> None:
        assert asyncio.run(self.users(folder).format()) == BOOTSTRAP_CHECKPOINT
        assert self.update(folder) == {}

    def test_a_new_cluster_needs_no_update(self, folder: Path) -> None:
        assert asyncio.run(self.users(folder, ada="a", bob="b").format()) == b"metadata\n"
        assert self.calls(folder) == ["kafka.tools.StorageTool @arguments"]
        assert self.update(folder, ada="a", bob="b") == {}

    def test_only_what_differs_is_set(self, folder: Path) -> None:
        asyncio.run(self.users(folder, ada="a", bob="b", eve="e").format())
        self.calls(folder)
        changed = self.update(folder, ada="a", bob="new", dan="d")
        assert changed.keys() == {"bob", "dan", "eve"}
        assert changed["bob"] == {f"SCRAM-SHA-{bits}=password=new" for bits in (256, 512)}
        # Nobody knows the password of who was removed.
        assert not any(new.endswith("=e") for new in changed["eve"])
        assert self.update(folder, ada="a", bob="new", dan="d") == {}

    def test_a_failure_shows_no_password_and_is_made_up_for(self, folder: Path) -> None:
        asyncio.run(self.users(folder, ada="a", eve="e").format())
        self.calls(folder)
        (folder / "fails").touch()
        with pytest.raises(LocalBrokerError, match="it failed") as raised:
            self.update(folder, ada="secret-1")
        assert "secret-1" not in str(raised.value)
        assert json.loads((folder / "users.json").read_text()) == {"ada": None, "eve": None}
        (folder / "fails").unlink()
        assert self.update(folder, ada="secret-1").keys() == {"ada", "eve"}
