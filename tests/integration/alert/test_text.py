"""An alert as text: every column, in wide and narrow terminals, in colour and in ASCII."""

from __future__ import annotations

import re

from tests.support.commands import run
from tests.support.terminal import ASCII, in_a_terminal

from alertstream.alert.text import (
    BARS,
)

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_colours_on_a_terminal_that_has_them(kafka: str, stream: str) -> None:
    shown = in_a_terminal("print", kafka, stream, "--exit-on-eof", columns=210)
    assert shown.status == 0
    assert "\x1b[30;48;2;42;245;255m i  \x1b[0m" in shown.out
    light = in_a_terminal("print", kafka, stream, "-n", 5, columns=210, COLORFGBG="0;15")
    assert "\x1b[37;48;2;55;2;1m i  \x1b[0m" in light.out
    for without in ({"NO_COLOR": "1"}, {"TERM": "dumb", "COLORTERM": ""}):
        plain = in_a_terminal("print", kafka, stream, "--exit-on-eof", columns=210, **without)
        assert "\x1b" not in plain.out
    assert shown.out.count("\n") == 121
    assert all(len(ESCAPES.sub("", line)) <= 210 for line in shown.out.splitlines())


def test_lines_elsewhere_are_the_same_whatever_the_terminal(kafka: str, stream: str) -> None:
    how = ("print", kafka, stream, "--exit-on-eof")
    printed = run(*how)
    assert run(*how, COLUMNS="40", TERM="xterm-256color", COLORTERM="truecolor").out == printed.out
    assert len(printed.lines) == 121


def test_a_terminal_without_utf8(kafka: str, stream: str) -> None:
    how = ("print", kafka, stream, "--exit-on-eof")
    printed = run(*how, **ASCII)
    assert printed.status == 0
    assert printed.out.isascii()
    assert "\\" not in printed.out
    assert "?" not in printed.out
    assert "+-" in printed.out
    table = str.maketrans(dict(zip(BARS, "_.-:=+*#", strict=True)) | {"±": "+-"})
    assert printed.out == run(*how).out.translate(table)
