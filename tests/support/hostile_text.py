"""Text that wants to command the terminal of whoever sees it."""

from __future__ import annotations

from tests.support.commands import Finished

COMMANDS = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202e\u2028\r\b"
"""A title, a screen that is cleared, a colour (C1), and text that runs backwards."""
FORMULA = '=HYPERLINK("http://evil")'


def harmless(ended: Finished) -> Finished:
    """What a command has written commands nothing."""
    for line in (ended.out + ended.err).split("\n"):
        assert line.isprintable(), repr(line)
    return ended
