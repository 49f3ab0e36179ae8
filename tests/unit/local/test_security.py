"""Users and passwords of a local cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from alertstream.errors import SecurityError, UsageError
from alertstream.kafka.connection import Connection
from alertstream.local.broker.security import ListenerSecurity, read_users


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


def test_passwords_are_not_shown() -> None:
    connection = Connection(bootstrap="127.0.0.1:1", username="ada", password="lovelace-1815")
    assert "lovelace-1815" not in repr(connection)
    with pytest.raises(UsageError):
        ListenerSecurity("SASL_SSL")
