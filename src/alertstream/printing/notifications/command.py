"""A command of the user's that gets each alert as a line of JSON."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
from contextlib import suppress
from tempfile import TemporaryFile

from alertstream.errors import UsageError

COMMAND_TIMEOUT = 60.0
"""Seconds that a command may take for an alert, before it is killed."""


class Command:
    """Runs a command, without a shell.

    :raises UsageError: there is no such command.
    """

    def __init__(self, text: str) -> None:
        try:
            self._words = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"{text} is not a command: {error}", where="--exec") from error
        self.label = self._words[0] if self._words else text
        if not self._words or shutil.which(self.label) is None:
            what = f"there is no command {self.label}" if self._words else "the command is empty"
            raise UsageError(what, where="--exec", todo="give a program's name or path")

    async def take(self, line: str) -> str | None:
        """Give it a line on its standard input; return why it was not taken, or None."""
        # Not a pipe, since the command may end before it has read all of it, or any.
        try:
            with TemporaryFile() as file:
                file.write(f"{line}\n".encode())
                file.seek(0)
                # Ctrl-C is for us: the command may finish its work.
                process = await asyncio.create_subprocess_exec(
                    *self._words, stdin=file, start_new_session=True
                )
        except OSError as error:
            return f"it cannot be run: {error.strerror}"
        try:
            await asyncio.wait_for(process.wait(), COMMAND_TIMEOUT)
        except TimeoutError:
            return f"it took more than {COMMAND_TIMEOUT:.0f} s, and was killed"
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return f"exit status {process.returncode}" if process.returncode else None
