"""Programs that this one starts, and that do not outlive it, however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

EXIT_TIMEOUT = 20.0
"""Seconds that a program gets to stop orderly before it is killed."""

# If this Python is killed, nothing is left to end the program but a pipe: its reading end sees the
# end of file then, on Linux and macOS alike. The shell that becomes the program leaves a child
# behind to read it, which ends the program and removes a temporary folder ($1), unless it is told
# with a line that the program has ended by itself.
LIFELINE = """
exec 3<&0
(read -r ended <&3 || { kill -9 $$; sleep 1; rm -rf -- "$1"; }) >/dev/null 2>&1 &
shift
exec "$@" </dev/null 3<&-
"""


async def end_process(process: asyncio.subprocess.Process, how: signal.Signals) -> None:
    """Send a process a signal, and SIGKILL if that does not end it; return when it has ended."""
    try:
        with suppress(ProcessLookupError):
            process.send_signal(how)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), EXIT_TIMEOUT)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    await process.wait()


@dataclass(kw_only=True)
class Child:
    """A program, which can be ended and started again.

    :param command: the program, and what it is given.
    :param folder: where it runs.
    :param log_file: gets what it writes, behind what is there.
    :param temporary: a folder to remove if this Python is killed.
    :param environment: its variables; None: those of this Python.
    :param log_start: where its last launch begins in the log.
    :param process: its process, from its launch until it is told to end.
    :param watch: done once that has ended.
    """

    command: Sequence[str]
    folder: Path
    log_file: Path
    temporary: Path | None = None
    environment: Mapping[str, str] | None = None
    log_start: int = 0
    process: asyncio.subprocess.Process | None = None
    watch: asyncio.Task[None] | None = None

    def log(self) -> str:
        """What it has written since its last launch."""
        with self.log_file.open("rb") as file:
            file.seek(self.log_start)
            return file.read().decode(errors="replace")

    async def launch(self, died: Callable[[], None] = lambda: None) -> None:
        """Run it, unless it runs; ``died`` is called if it ends without being told to.

        :raises OSError: if the log cannot be written.
        """
        if self.process and self.process.returncode is None:
            return
        reading, writing = os.pipe()
        try:
            with self.log_file.open("ab") as log:
                self.log_start = log.tell()
                self.process = await asyncio.create_subprocess_exec(
                    *("/bin/sh", "-c", LIFELINE, "alertstream-child"),
                    str(self.temporary or ""),
                    *self.command,
                    stdin=reading,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    env=self.environment,
                    # Ctrl-C in a terminal goes to all of a group; Kafka shall end after its
                    # clients.
                    start_new_session=True,
                )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self.watch = asyncio.create_task(self._until_ended(self.process, writing, died))

    async def _until_ended(
        self, process: asyncio.subprocess.Process, lifeline: int, died: Callable[[], None]
    ) -> None:
        try:
            await process.wait()
            with suppress(BrokenPipeError):
                os.write(lifeline, b"ended\n")
        finally:
            os.close(lifeline)
        if self.process is process:
            died()

    async def end(self, how: signal.Signals) -> int | None:
        """Send it a signal, and SIGKILL if that does not end it; return its exit status."""
        process, self.process = self.process, None
        if process is None or self.watch is None:
            return None
        await end_process(process, how)
        await asyncio.wait([self.watch])
        return process.returncode
