"""The installed command in a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

from tests.support.commands import COMMAND, Finished, clean_environment

TERMINAL = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": ""}
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
"""A terminal for ASCII only."""


def in_a_terminal(
    *arguments: object, columns: int = 80, stdout: Path | None = None, **environment: str
) -> Finished:
    """Run the command with its output on a terminal, and its errors in a pipe.

    :param stdout: a file that gets the output; then the errors are on the terminal.
    """
    terminal, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with (
        (stdout or Path(os.devnull)).open("w") as file,
        subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            stdin=side,
            stdout=file if stdout else side,
            stderr=side if stdout else subprocess.PIPE,
            env=clean_environment(**TERMINAL | environment),
            start_new_session=True,
        ) as process,
    ):
        os.close(side)
        parts = []
        # Linux raises EIO when the other side is closed.
        try:
            while part := os.read(terminal, 65536):
                parts.append(part)
        except OSError:
            pass
        err = process.stderr.read().decode() if process.stderr else ""
    os.close(terminal)
    shown = b"".join(parts).decode()
    assert "Traceback" not in err + shown
    if stdout:
        return Finished(process.returncode, stdout.read_text(), shown)
    return Finished(process.returncode, shown, err)
