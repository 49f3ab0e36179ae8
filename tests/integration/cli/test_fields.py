"""Misspelt fields are reported at once, before Kafka is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.commands import run

NOWHERE = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("command", "status", "what"),
    [
        (
            ("filter", "--where", "diaSource.snrr > 5", "--output", "x"),
            2,
            "error: no schema has the field diaSource.snrr · --where 'diaSource.snrr > 5'"
            " · did you mean diaSource.snr?\n",
        ),
        (
            ("print", "--fields", "band, diaSource.bnad"),
            2,
            "error: no schema has the field diaSource.bnad · --fields"
            " · did you mean diaSource.band?\n",
        ),
        (("print", "--fields", "snr,"), 2, "error: no schema has the field '' · --fields"),
        (("filter", "--where", "diaSource.snr > 5", "--output", "x"), 1, "Kafka cannot be reached"),
        (("filter", "--where", "candidate.x > 5", "--output", "x"), 1, "Kafka cannot be reached"),
        (("print", "--fields", "band,prvDiaSources.snr"), 1, "Kafka cannot be reached"),
        (
            ("print", "--fields", "any.thing", "--registry", "http://127.0.0.1:1"),
            1,
            "Kafka cannot be reached",
        ),
    ],
)
def test_options_that_name_fields(command: tuple[str, ...], status: int, what: str) -> None:
    name, *options = command
    ended = run(name, NOWHERE, "topic", *options)
    assert (ended.status, ended.out) == (status, "")
    assert what in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("fields", "status", "what"),
    [
        ('("snr", "diaSource.bnad")', 2, "no schema has the field diaSource.bnad · fields of Mine"),
        ('"snr"', 2, "the fields are not names · Mine"),
        ("(1,)", 2, "the fields are not names · Mine"),
        ("7", 2, "the filter's code raised TypeError"),
        ('("snr", "diaSource.band")', 1, "Kafka cannot be reached"),
    ],
)
def test_fields_that_a_class_declares(fields: str, status: int, what: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from alertstream import AlertFilter\n"
        f"class Mine(AlertFilter):\n    fields = {fields}\n"
        "    def passes(self, alert):\n        return True\n"
    )
    ended = run("filter", NOWHERE, "topic", "--filters", path)
    assert (ended.status, ended.out) == (status, "")
    assert what in ended.err
    assert ended.err.count("\n") == 1
