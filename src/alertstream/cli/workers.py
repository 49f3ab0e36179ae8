"""Worker processes that share a command's work, and report as JSON; one account of all.

Each runs the same command with its own share of the work. A worker of ``filter`` is a
member of the group: when it is killed, the others take over its partitions, and it is restarted.
A worker of ``send`` has a part of each visit, and sends it when it gets the order to.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from alertstream.errors import AlertStreamError, Event, Notice
from alertstream.filtering.account import FilterAccount, FilterCounts
from alertstream.filtering.pipeline import Report
from alertstream.kafka.connection import POLL_INTERVAL
from alertstream.kafka.producer import RETRY_INTERVAL
from alertstream.monitoring import metrics
from alertstream.monitoring.server import Served
from alertstream.sending.delivery import SendAccount, VisitSent
from alertstream.sending.sender import Progress
from alertstream.sending.visits.schedule import Burst, VisitFiles
from alertstream.system.cancellation import stopped_within, unless_stopped
from alertstream.system.process import end_process

Command = Sequence[str]
"""The command line of a worker."""
MAX_LINE = 1024 * 1024
"""Bytes of a line that a worker writes."""
TELL_INTERVAL = 1.0
"""Seconds between a worker's reports of its figures."""


def worker_command(*more: str) -> list[str]:
    """Return this process's command line as that of one of its workers."""
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    added = ["--worker", "--workers", "1", "--format", "json", *more]
    return [sys.executable, "-m", "alertstream", *given[:end], *added, *given[end:]]


def ended_well(status: int, stop: asyncio.Event) -> bool:
    """Return whether a worker has done its work, or was stopped, perhaps before it was at work."""
    interrupted = (128 + signal.SIGINT, -signal.SIGINT, -signal.SIGTERM)
    return status == 0 or (stop.is_set() and status in interrupted)


class WorkerError(AlertStreamError):
    """A worker failed, and has said why on standard error."""

    def __init__(self, number: int, status: int) -> None:
        what = f"was killed (signal {-status})" if status < 0 else f"ended with status {status}"
        super().__init__(f"worker {number} {what}", todo="see its own error above, if any")
        self.exit_status = max(status, 1)


@asynccontextmanager
async def worker(command: Command, stop: asyncio.Event) -> AsyncIterator[Process]:
    """Give a process that ends by ``stop``, or else at the end of the context.

    It has its own session, so that Ctrl-C reaches it only through ``stop``.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, start_new_session=True, limit=MAX_LINE
    )

    async def end_with_stop() -> None:
        await stop.wait()
        await end_process(process, signal.SIGTERM)

    ending = asyncio.create_task(end_with_stop())
    try:
        yield process
    except asyncio.CancelledError:
        if stop.is_set():
            # A second signal from the user ends it at once.
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        raise
    finally:
        if stop.is_set():
            await ending
        else:
            ending.cancel()
            await end_process(process, signal.SIGTERM)


async def _reports(process: Process) -> AsyncIterator[dict[str, Any]]:
    """Yield what a worker reports, until it ends."""
    assert process.stdout is not None
    async for line in process.stdout:
        # The last line of one that is killed may be cut short.
        with suppress(ValueError):
            yield json.loads(line)


async def reports_of(
    commands: Sequence[Command], stop: asyncio.Event, take: Callable[[dict[str, Any]], None]
) -> None:
    """Run several processes until they end, and take their reports.

    :raises WorkerError: one has failed; the others have finished their work.
    """

    async def follow(number: int, command: Command) -> WorkerError | None:
        async with worker(command, stop) as process:
            async for reported in _reports(process):
                take(reported)
            status = await process.wait()
            return None if ended_well(status, stop) else WorkerError(number, status)

    followed = (follow(number, command) for number, command in enumerate(commands, 1))
    if failed := [each for each in await asyncio.gather(*followed) if each]:
        raise failed[0]


@asynccontextmanager
async def figures_told(write: Callable[[list[str]], Awaitable[None]]) -> AsyncIterator[Served]:
    """Report what is served to the parent process, regularly and at the end."""
    served = Served()

    async def tell() -> None:
        figures = metrics.as_json(served.figures())
        await write([json.dumps({"figures": figures, "unready": served.unready()})])

    async def tell_again() -> None:
        while True:
            await tell()
            await asyncio.sleep(TELL_INTERVAL)

    telling = asyncio.create_task(tell_again())
    try:
        yield served
    finally:
        telling.cancel()
        await tell()


async def filter_with_workers(
    commands: Sequence[Command],
    account: FilterAccount,
    served: Served,
    *,
    went_well: Collection[int],
    stop: asyncio.Event,
    report: Report,
    notice: Notice,
) -> list[FilterCounts]:
    """Filter with several processes; return each filter's counts of all messages.

    :param account: gets the sum of what the workers have counted.
    :param served: gets the sum of the workers' metrics.
    :param went_well: exit statuses of a worker that need no restart.
    :param report: called with each filter's counts when visits are over for all workers.
    :raises WorkerError: one could not go on; the others were ended.
    """

    told = metrics.WorkersFigures(len(commands))
    served.figures, served.unready = told.figures, told.unready

    async def filter_again(number: int, command: Command) -> None:
        take = partial(told.take, number)
        while (status := await _filter(command, account, take, stop)) < 0 and not stop.is_set():
            told.ended(number)
            error = WorkerError(number, status)
            text = f"{error.what} and is restarted; what it counted after its last report is lost"
            notice(Event(text, worker=number, cause=error.what))
            await stopped_within(stop, RETRY_INTERVAL)
        if status not in went_well and not stop.is_set():
            raise WorkerError(number, status)

    async def report_visits() -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            if closed := account.close_visits():
                await report(closed)

    try:
        async with asyncio.TaskGroup() as tasks:
            reporting = tasks.create_task(report_visits())
            workers = [
                tasks.create_task(filter_again(number, command))
                for number, command in enumerate(commands, 1)
            ]
            await asyncio.wait(workers)
            reporting.cancel()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    if closed := account.close_visits(all_of_them=True):
        await report(closed)
    return account.totals()


async def _filter(
    command: Command,
    account: FilterAccount,
    take: Callable[[metrics.Figures, str], None],
    stop: asyncio.Event,
) -> int:
    """Have a worker filter until it ends, add what it counts, and return its exit status."""
    undecodable: dict[str, int] = {}
    async with worker(command, stop) as process:
        async for reported in _reports(process):
            if "figures" in reported:
                take(metrics.from_json(reported["figures"]), reported["unready"])
                continue
            counts = FilterCounts.from_json(reported)
            if counts.final:
                # Everything else has been added by visit.
                undecodable[counts.filter] = counts.undecodable
                account.seconds = max(account.seconds, counts.seconds)
            else:
                account.add([counts])
        account.add([], undecodable)
        return await process.wait()


async def send_with_workers(
    commands: Sequence[Command],
    visits: Sequence[VisitFiles],
    bursts: AsyncIterator[Burst],
    *,
    stop: asyncio.Event,
    progress: Progress,
    report: Callable[[VisitSent], None],
    account: SendAccount,
) -> VisitSent:
    """Send each visit with several processes at once, when it is due; return the sum of all.

    :param report: called when all of them have sent their part of a visit.
    """
    places = {visit: place for place, visit in enumerate(visits)}
    total = account.done
    async with AsyncExitStack() as stack:
        workers = [
            _Sender(await stack.enter_async_context(worker(command, stop)), number, stop)
            for number, command in enumerate(commands, 1)
        ]
        async for visit, start in bursts:
            order = json.dumps({"visit": places[visit], "start": start})
            sent = await _send_visit(workers, visit, order, progress)
            report(sent)
            account.end(sent)
            if isinstance(sent.error, WorkerError):
                return total
        for each in workers:
            total.error = total.error or await each.end()
    return total


async def _send_visit(
    workers: Sequence[_Sender], visit: VisitFiles, order: str, progress: Progress
) -> VisitSent:
    """Have all workers send their parts of a visit; return the sum."""
    sent = VisitSent(visit.path.stem, str(visit.path))
    shown = replace(sent)

    def show() -> None:
        shown.acknowledged = sum(each.acknowledged for each in workers)
        progress(shown, sum(each.share for each in workers) / len(workers))

    parts = await asyncio.gather(*(each.send(order, show) for each in workers))
    for part in parts:
        sent.add(part)
        if part.planned:
            sent.visit = part.visit
    sent.seconds = max(part.seconds for part in parts)
    progress(shown, 1.0)
    return sent


@dataclass
class _Sender:
    """A worker that sends its part of each visit, and how far it is with that."""

    process: Process
    number: int
    stop: asyncio.Event
    share: float = 0.0
    acknowledged: int = 0

    async def send(self, order: str, show: Callable[[], None]) -> VisitSent:
        """Order the worker to send its part, and return its account when it is done."""
        assert self.process.stdin is not None
        self.share, self.acknowledged = 0.0, 0
        # uvloop raises the latter for a process that has ended.
        with suppress(ConnectionError, RuntimeError):
            self.process.stdin.write(f"{order}\n".encode())
            await self.process.stdin.drain()
        async for report in _reports(self.process):
            if "planned" in report:
                return VisitSent.from_json(report)
            self.share, self.acknowledged = report["share"], report["acknowledged"]
            show()
        status = await self.process.wait()
        if self.stop.is_set() and ended_well(status, self.stop):
            return VisitSent(interrupted=True)
        return VisitSent(error=WorkerError(self.number, status))

    async def end(self) -> WorkerError | None:
        """Let the worker end, as nothing is left to send; return its error."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = await self.process.wait()
        return None if ended_well(status, self.stop) else WorkerError(self.number, status)


async def ordered_bursts(
    orders: AsyncIterator[str], visits: Sequence[VisitFiles], stop: asyncio.Event
) -> AsyncIterator[Burst]:
    """Yield each visit when this worker gets the order to send its part of it."""
    with suppress(TimeoutError):
        while line := await unless_stopped(stop, anext(orders, ""), grace=0):
            order = json.loads(line)
            yield visits[order["visit"]], order["start"]
