"""Users and passwords of a local cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from alertstream.errors import SecurityError, UsageError
from alertstream.kafka.admin import Acl
from alertstream.kafka.connection import Connection
from alertstream.local.broker.security import ListenerSecurity, read_acls, read_users


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        "ada",
        "ada:",
        ":secret-1",
        "a da:secret-1",
        "ada:secret-1\nada:secret-2",
        "alertstream-node:secret-1",
        "a;User:eve:secret-1",
    ],
)
def test_users_that_cannot_be(tmp_path: Path, content: str) -> None:
    users = tmp_path / "users"
    users.write_text(content)
    with pytest.raises(SecurityError) as raised:
        read_users(users)
    assert "secret" not in str(raised.value)
    assert str(users) in str(raised.value)


def test_rights_of_users(tmp_path: Path) -> None:
    file = tmp_path / "acl"
    file.write_text("# who\n\nada read,describe topic alerts # what\nada all group ada-*\n")
    acls = read_acls(file, ["ada"])
    assert [each.numbers for each in acls] == [
        (2, "alerts", 3, "User:ada", "*", 3, 3),
        (2, "alerts", 3, "User:ada", "*", 8, 3),
        (3, "ada-", 4, "User:ada", "*", 2, 3),
    ]
    assert Acl("ada", "read", "topic", "*").numbers[:3] == (2, "*", 3)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ada read topic", "is not a right"),
        ("ada read topic alerts more", "is not a right"),
        ("eve read topic alerts", "names eve, who is not in the users' file"),
        ("ada see topic alerts", "names no operation: see"),
        ("ada read,Write topic alerts", "names no operation: Write"),
        ("ada read table alerts", "names no kind: table"),
    ],
)
def test_rights_that_cannot_be(tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "acl"
    file.write_text(f"ada read topic alerts\n{line}\n", encoding="utf-8")
    with pytest.raises(SecurityError) as raised:
        read_acls(file, ["ada"])
    assert f"line 2 {words}" in str(raised.value)
    with pytest.raises(SecurityError, match="check --acl"):
        read_acls(tmp_path / "none", ["ada"])
    with pytest.raises(UsageError, match="--acl needs users"):
        ListenerSecurity(acl_file=file)


def test_passwords_are_not_shown() -> None:
    connection = Connection(bootstrap="127.0.0.1:1", username="ada", password="lovelace-1815")
    assert "lovelace-1815" not in repr(connection)
    with pytest.raises(UsageError):
        ListenerSecurity("SASL_SSL")
