"""The name of a group that nobody names: the same for the same, and for nothing else."""

from __future__ import annotations

from types import SimpleNamespace

from alertstream.cli.options.reading import own_group


def test_same_name_for_the_same_selection() -> None:
    first = own_group("alice", "print", ["alerts"], SimpleNamespace(where="snr > 5"))
    again = own_group("alice", "print", ["alerts"], SimpleNamespace(where="snr > 5", save=["x"]))
    assert first == again
    assert first.startswith("alice-print-alerts-")
    others = {
        own_group("alice", "print", ["alerts"], SimpleNamespace(where="snr > 6")),
        own_group("alice", "monitor", ["alerts"], SimpleNamespace(where="snr > 5")),
        own_group("alice", "print", ["alerts", "b"], SimpleNamespace(where="snr > 5")),
        own_group("alice", "print", ["alerts"], SimpleNamespace(where="snr > 5"), ["phone"]),
        own_group("bob", "print", ["alerts"], SimpleNamespace(where="snr > 5")),
    }
    assert len(others | {first}) == 6


def test_a_name_is_safe_and_short() -> None:
    name = own_group("al ice", "print", ["alerts-*" * 99], SimpleNamespace())
    assert name.isprintable()
    assert len(name) < 249
    assert not set(name) & set(" *")
    assert own_group(None, "print", ["a"], SimpleNamespace())
