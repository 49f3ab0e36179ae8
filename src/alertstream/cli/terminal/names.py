"""Names in a table, shortened so that they can still be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

MIN_WIDTH = 8
"""Columns that a name has at least."""


class Name:
    """A name in a column of others, shortened where there is no room for it.

    :param column: all names there.
    """

    def __init__(self, text: str, column: Sequence[str]) -> None:
        self._text = text
        different = {each for each in column if each}
        same = takewhile(lambda letters: len({*letters}) == 1, zip(*different, strict=False))
        self._same = len([*same]) if len(different) > 1 else 0

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(len(self._text), MIN_WIDTH), len(self._text))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(shortened(self._text, options.max_width, self._same), no_wrap=True)


def shortened(name: str, width: int, same: int = 0) -> str:
    """Return a name in ``width`` columns: first without the common beginning, then the middle.

    :param same: how many letters all names begin with.
    """
    if len(name) <= width:
        return name
    begin = min(same, len(name) - width + 1)
    before, rest = "…" if begin else "", name[begin:]
    if len(before) + len(rest) <= width:
        return before + rest
    kept = max(width - len(before) - 1, 0)
    end = kept // 2
    return f"{before}{rest[: kept - end]}…{rest[len(rest) - end :]}"[:width]
