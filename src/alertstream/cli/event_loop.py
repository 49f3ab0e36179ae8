"""Runs a command's coroutine: uvloop, and SIGINT and SIGTERM as one event to stop on."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO, TypeVar
from uuid import getnode, uuid4

T = TypeVar("T")

IMPATIENCE = 1.0
"""Seconds in which more signals mean the same: a shell and its job may both send one."""
MOST_INSTANCES = 1000
"""Processes of a group on one machine that get a name which they have again."""


class Interrupted(Exception):
    """A second signal has ended what was being brought to its end."""


def run(main: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """Run ``main`` to its end; it is given the event that SIGINT and SIGTERM set.

    :raises Interrupted: another signal, ``IMPATIENCE`` later, has ended it.
    """
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(_main(main))


async def until_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    """Do ``work`` until it ends, or ``stop`` is set: then it is cancelled, and cleans up."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not task.done():
        task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def input_lines() -> AsyncIterator[str]:
    """Yield the lines of standard input, which is a pipe, as they come."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield line.decode()


@asynccontextmanager
async def ending_with_input(stop: asyncio.Event) -> AsyncIterator[None]:
    """Set ``stop`` when standard input ends: whoever has started this process is gone."""

    async def watch() -> None:
        async for _ in input_lines():
            pass
        stop.set()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


@contextmanager
def instance_name(group: str) -> Iterator[str]:
    """Give a name for this process in a consumer group, the same when it is started again.

    The first process of the group on this machine has number 0, a second one at the same time 1.
    A lock file, which the system lets go even of a process that is killed, tells which are taken.
    """
    machine = f"{socket.gethostname()}-{_machine()}"
    key = sha256(f"{group} {machine}".encode()).hexdigest()[:16]
    for number in range(MOST_INSTANCES):
        path = Path(tempfile.gettempdir()) / f"alertstream-{key}-{number}.lock"
        lock = _locked(path)
        if lock is not None:
            with lock:
                try:
                    yield f"{group}-{machine}-{number}"
                finally:
                    path.unlink(missing_ok=True)
            return
    yield f"{group}-{machine}-{uuid4().hex}"


def _locked(path: Path) -> TextIO | None:
    """Return a file that nobody else has locked; None if somebody has, or it cannot be opened."""
    try:
        lock = path.open("a")
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who had it before may have removed it meanwhile, and another have made it anew.
        if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
            return lock
    except OSError:
        pass
    lock.close()
    return None


def _machine() -> str:
    """Return what only processes have in common that see each other's lock files.

    Containers may have one host name and one hardware address, on two machines even.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        boot = f"{getnode():x}"
    folder = Path(tempfile.gettempdir()).stat()
    return sha256(f"{boot} {folder.st_dev} {folder.st_ino}".encode()).hexdigest()[:12]


async def in_thread(work: Callable[[], None]) -> None:
    """Return when ``work`` is done, by a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        try:
            work()
        except Exception as error:
            result: BaseException | None = error
        else:
            result = None
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, result)

    threading.Thread(target=run, daemon=True).start()
    await done


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _main(main: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(main(stop))

    first = 0.0

    def on_signal() -> None:
        nonlocal first
        if not stop.is_set():
            first = loop.time()
            stop.set()
        elif loop.time() - first > IMPATIENCE:
            task.cancel()

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, on_signal)
    try:
        return await task
    except asyncio.CancelledError:
        raise Interrupted from None
