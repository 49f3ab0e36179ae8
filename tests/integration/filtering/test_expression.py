"""Filters written as an expression: parsed, never run."""

from __future__ import annotations

import pytest
from tests.support import raw_kafka
from tests.support.commands import run


def test_from_the_command_line(kafka: str, topic: str) -> None:
    assert run("send", kafka, topic, "--interval", 0).status == 0
    output = f"{topic}-out"
    how = ("--where", "snr > 100 and band in ('g', 'r')", "--output", output, "--exit-on-eof")
    filtered = run("filter", kafka, topic, *how)
    assert filtered.status == 0, filtered.err
    shown = run("print", kafka, output, "--exit-on-eof", "--format", "json", "--fields", "snr,band")
    assert len(shown.objects) > 10
    for each in shown.objects:
        assert each["alert"]["snr"] > 100
        assert each["alert"]["band"] in ("g", "r")
    assert f"{len(shown.objects)} passed" in filtered.lines[-1]


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (["--where", "snr > 5"], 2, "--where and --output belong together"),
        (["--output", "x"], 2, "--where and --output belong together"),
        (["--where", "snr >", "--output", "x"], 2, "--where is not a valid expression"),
        (
            ["--where", "snr > 1", "--output", "a topic"],
            2,
            "is not a valid name for a topic",
        ),
    ],
)
def test_wrong_arguments(kafka: str, arguments: list[str], status: int, what: str) -> None:
    filtered = run("filter", kafka, "any", *arguments)
    assert filtered.status == status
    assert what in filtered.err
    assert filtered.err.count("\n") == 1
    assert raw_kafka.describe(kafka, "x") is None
