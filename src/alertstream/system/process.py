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
"""Seconds that a program gets to exit after a signal, before it is killed."""

# If this Python is killed, only a pipe can tell: on Linux and macOS alike, its reader then sees the
# end of file. Before it becomes the program, the shell starts a child that reads the pipe. At the
# end of file, the child kills the program and removes a temporary folder ($1), unless a line has
# told it that the program exited on its own.
LIFELINE = """
exec 3<&0
(read -r ended <&3 || { kill -9 $$; sleep 1; rm -rf -- "$1"; }) >/dev/null 2>&1 &
shift
exec "$@" </dev/null 3<&-
"""


async def end_process(process: asyncio.subprocess.Process, how: signal.Signals) -> None:
    """Send a process a signal, and SIGKILL if that does not end it; return when it has exited."""
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
    """A child process that can be ended and launched again.

    :param command: the program and its arguments.
    :param folder: where it runs.
    :param log_file: its output is appended to it.
    :param temporary: a folder to remove if this Python is killed.
    :param environment: its variables; None: those of this Python.
    :param log_start: where its last launch begins in the log.
    :param process: its process, from its launch until it is told to end.
    :param watch: done once that has exited.
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
        """Return what it has written since its last launch."""
        with self.log_file.open("rb") as file:
            file.seek(self.log_start)
            return file.read().decode(errors="replace")

    async def launch(self, on_exit: Callable[[], None] = lambda: None) -> None:
        """Start it, unless it runs; ``on_exit`` is called if it exits without being told to.

        :raises OSError: the log cannot be written.
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
                    # Ctrl-C in a terminal goes to a whole group, but Kafka must outlive its
                    # clients.
                    start_new_session=True,
                )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self.watch = asyncio.create_task(self._until_exit(self.process, writing, on_exit))

    async def _until_exit(
        self, process: asyncio.subprocess.Process, lifeline: int, on_exit: Callable[[], None]
    ) -> None:
        try:
            await process.wait()
            with suppress(BrokenPipeError):
                os.write(lifeline, b"ended\n")
        finally:
            os.close(lifeline)
        if self.process is process:
            on_exit()

    async def run(self) -> int:
        """Run it to its end, and kill it if this is cancelled; return its exit status.

        :raises OSError: the log cannot be written.
        """
        await self.launch()
        process = self.process
        assert process
        try:
            return await process.wait()
        finally:
            await self.end(signal.SIGKILL)

    async def end(self, how: signal.Signals) -> int | None:
        """Send it a signal, and SIGKILL if that does not end it; return its exit status."""
        process, self.process = self.process, None
        if process is None or self.watch is None:
            return None
        await end_process(process, how)
        await asyncio.wait([self.watch])
        return process.returncode
