"""Errors are one line that commands no terminal, whatever they quote."""

from __future__ import annotations

import pytest
from tests.support.hostile_text import COMMANDS

from alertstream.errors import DataError, error_line, printable


@pytest.mark.hostile("12: an error that quotes what commands a terminal")
def test_an_error_is_a_line_that_commands_nothing() -> None:
    error = DataError(f"it says {COMMANDS}\nerror: no", where=COMMANDS, todo=f"a\tb {COMMANDS}")
    for text in (str(error), error.what, error.where, error.todo):
        assert text
        assert text.isprintable()
    assert error.what.endswith("error: no")
    assert str(DataError("what")) == "what"


def test_an_error_of_a_users_code_is_a_line() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_line(ValueError("first\nsecond")) == "ValueError: first second"
    assert error_line(SilentError()) == "SilentError: it cannot say what is wrong"


def test_text_is_cut_where_it_is_too_long() -> None:
    assert printable("abcdef", 3) == "abc..."
    assert printable("a\x1bc", 3) == "a\N{REPLACEMENT CHARACTER}c"
