"""What a shell's words are, and which filters a file has, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alertstream.cli.options.completion import filter_classes, join_words_of_bash, quietly


@pytest.mark.parametrize(
    ("broken", "joined"),
    [
        (["print", "localhost", ":", "9092", "al"], ["print", "localhost:9092", "al"]),
        (["print", "localhost", ":"], ["print", "localhost:"]),
        (["print", "a", ":", "1,b", ":", "2", ""], ["print", "a:1,b:2", ""]),
        (["print", "--format", "=", "j"], ["print", "--format", "j"]),
        (["print", "--format", "="], ["print", "--format", ""]),
        (["filter", "'a > 5 and b"], ["filter", "'a > 5 and b"]),
        ([""], [""]),
    ],
)
def test_words_that_bash_breaks(broken: list[str], joined: list[str]) -> None:
    environment = {
        "COMP_WORDS": "\n".join(["alertstream", *broken, "behind"]),
        "COMP_CWORD": f"{len(broken)}",
    }
    join_words_of_bash(environment)
    assert environment["COMP_WORDS"].split("\n") == ["alertstream", *joined]
    assert environment["COMP_CWORD"] == f"{len(joined)}"


def test_filters_of_a_file_that_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "raise SystemExit\n"
        "class Base(AlertFilter): pass\n"
        "class Bright(Base):\n    def passes(self, alert): return True\n"
        "class Second(alertstream.AlertFilter):\n    def passes(self, alert): return True\n"
        "class Third(Bright): pass\n"
        "class Helper:\n    def passes(self): pass\n"
    )
    assert filter_classes(file) == ["Bright", "Second", "Third"]


@pytest.mark.hostile("12: names that a shell would run when it completes them")
def test_only_plain_names_are_offered() -> None:
    names = ["snr", "diaSource.snr", "a`id`", "b$(id)", "c\\$(id)", 'd"', "e;id", "f\x1b[2J", "g h"]
    offered = quietly(lambda ctx, incomplete: [f"{incomplete}{each}" for each in names])
    context: Any = None
    assert offered(context, "") == ["snr", "diaSource.snr"]
    assert offered(context, "band == 'x' and ")[1:] == ["band == 'x' and diaSource.snr"]
