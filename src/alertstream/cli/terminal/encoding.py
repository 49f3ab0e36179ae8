"""Output in what the terminal can show: ASCII, where it does not know better."""

from __future__ import annotations

import codecs
import io
import sys

_IN_ASCII = str.maketrans(
    dict(zip("▁▂▃▄▅▆▇█▀░▒▓━─│╸╺", "_.-:=+*##.:%--|--", strict=True))
    | {"±": "+-", "°": " deg", "µ": "u", "·": "-", "–": "-", "→": "->", "↓": "v", "…": "~"}
    | {"\N{REPLACEMENT CHARACTER}": "?"}
)
"""What stands for a character where the terminal does not have it."""


def fit_encoding() -> None:
    """Write what an output's encoding lacks in ASCII from now on."""
    codecs.register_error("alertstream", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="alertstream")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    shown = text.translate(_IN_ASCII)
    return shown.encode("ascii", "backslashreplace").decode(), error.end
