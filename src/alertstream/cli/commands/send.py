"""``alertstream send``."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from alertstream.cli.options.metrics import MetricsOptions
from alertstream.cli.options.schemas import SchemaOptions
from alertstream.cli.options.shared import (
    FormatOptions,
    KafkaOptions,
    WorkerOptions,
    option_group,
    topic_argument,
)
from alertstream.cli.terminal.output import DONE, FAILED, as_json, notice, write_error, write_line
from alertstream.errors import AlertStreamError, UsageError, info

if TYPE_CHECKING:
    import asyncio

    from alertstream.kafka.connection import Connection
    from alertstream.kafka.topics import Topic
    from alertstream.monitoring.server import Served
    from alertstream.sending.delivery import VisitSent
    from alertstream.sending.sender import SendOptions
    from alertstream.sending.visits.schedule import VisitFiles

PROGRESS_EVERY = 0.2
"""Seconds between a worker's reports of its progress."""


_visits = option_group("Visits")
_topic = option_group("Topic")
_schemas = option_group("Schemas")


@dataclass(frozen=True, kw_only=True)
class Send(KafkaOptions, SchemaOptions, WorkerOptions, FormatOptions, MetricsOptions):
    """Send alerts to a topic, one burst per visit.

    A visit is a file, or a folder of files.

    Example: alertstream send localhost:9092 alerts --interval 2
    """

    topic: str = topic_argument(help="The topic.")
    data: list[Path] | None = _visits(
        None,
        "Avro container file of a visit, or folder of these, or of folders with one "
        "visit's files each; repeatable.",
        "PATH",
    )
    interval: float = _visits(
        39.0, "Seconds from burst to burst; 0: as fast as possible.", "SECONDS", min=0
    )
    align: bool = _visits(True, "Start bursts at multiples of the interval on the clock.")
    arrival: Literal["burst", "detectors"] = _visits(
        "burst",
        "burst: all of a visit at once; detectors: as 189 processes send it, in shares over "
        "the interval and beyond.",
        "HOW",
    )
    seed: int = _visits(1, "The same seed gives the same arrivals.", "N")
    replay: list[Path] | None = _visits(
        None,
        "Instead of --data, a file of print --save to send with the recorded times, keys, "
        "headers and partitions; repeatable.",
        "FILE",
    )
    speed: float = _visits(1.0, "How many times as fast to replay.", "FACTOR", min=0.001)
    now: bool = _visits(
        False,
        "Move the times of the alerts: the shutter closes as the visit is sent.",
        names=("--now",),
    )
    limit: int = _visits(10_000, "Maximum alerts per visit; 0: all.", "N", min=0)
    part: str | None = _visits(
        None, "Send this part of each visit, as in 2/3; others send the rest.", "I/N"
    )
    repeat: int = _visits(1, "How often to send all the data; 0: forever.", "N", min=0)
    partitions: int | None = _topic(
        None,
        "Partitions of the topic, if it has to be created; default: 4, or as recorded.",
        "N",
        min=1,
    )
    replication: int | None = _topic(
        None, "Its replication factor; default: 3, if there are 3 brokers.", "N", min=1
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] | None = _topic(
        None,
        "none, gzip, snappy, lz4 or zstd; default: none, and snappy with --arrival detectors.",
        "CODEC",
    )
    schema_id: int | None = _schemas(None, "Send under this schema id.", "ID", min=0, max=2**32 - 1)
    subject: str = _schemas(
        "topic",
        "Where --registry has the schemas: topic (TOPIC-value), record (the schema's full name), "
        "topic-record (TOPIC-NAME), or a subject's name.",
        "NAME",
    )

    def run(self) -> int:
        """Send all visits; return 1 if any alert was not acknowledged."""
        from alertstream.cli.event_loop import input_lines, run
        from alertstream.cli.terminal.progress import send_progress
        from alertstream.cli.workers import ordered_bursts, send_with_workers
        from alertstream.kafka.producer import producer
        from alertstream.monitoring.figures import send_figures
        from alertstream.sending.delivery import SendAccount
        from alertstream.sending.sender import send
        from alertstream.sending.visits.encoders import message_encoders
        from alertstream.sending.visits.recordings import keyed_files
        from alertstream.sending.visits.schedule import Cadence, Clock, bursts, files_of, replayed

        self._require_sense()
        number, of = part_of_visit(self.part)
        connection, schemas = self.connection(), self.known_schemas()
        visits, clock = self._visits(), Clock()
        cadence = Cadence(self.interval, self.align, self.repeat)
        sent: list[VisitSent] = []
        account = SendAccount()

        def report(visit: VisitSent) -> None:
            sent.append(visit)
            self._report(visit)

        async def main(stop: asyncio.Event) -> VisitSent:
            async with self.serving(worker=self.worker) as served:
                served.figures = partial(send_figures, self.topic, account)
                return await send_all(stop, served)

        async def send_all(stop: asyncio.Event, served: Served) -> VisitSent:
            encoders = await message_encoders(
                files_of(visits),
                schemas,
                schema_id=self.schema_id,
                topic=self.topic,
                subject=self.subject,
                keyed=keyed_files(visits) if self.replay else (),
                notice=notice,
            )
            options = self._options(await self._topic(connection, visits), visits, (number - 1, of))
            with nullcontext(_Reported()) if self.worker else send_progress() as progress:
                if self.worker:
                    due = ordered_bursts(input_lines(), visits, stop)
                elif self.replay:
                    due = replayed(visits, self.speed, clock, stop, progress.wait)
                else:
                    due = bursts(visits, cadence, clock, stop, progress.wait)
                how: Any = {"stop": stop, "report": report, "account": account}
                how["progress"] = progress.show
                if self.workers > 1:
                    # Workers end on their own if Kafka cannot be reached.
                    served.unready = str
                    commands = self._commands(number, of)
                    total = await send_with_workers(commands, visits, due, **how)
                else:
                    async with producer(
                        connection, compression=self._codec(), notice=notice
                    ) as sending:
                        served.unready = sending.unready
                        total = await send(sending, options, encoders, due, clock=clock, **how)
            if stop.is_set() and not self.worker:
                total.error = total.error or self._interruption(sent, len(visits))
            return total

        total = run(main)
        if not self.worker:
            notice(info(f"sent: {total.as_line()}"))
            if isinstance(total.error, InterruptedSendError):
                write_error(total.error)
        return FAILED if total.error else DONE

    def _require_sense(self) -> None:
        """Refuse combinations in which an option has no effect.

        :raises UsageError: there is one.
        """
        why, todo = "", ""
        if self.replay:
            why, todo = "--replay", "the recording says when its alerts are sent; or use --data"
            wrong = ["data", "interval", "align", "arrival", "seed", "limit", "repeat", "workers"]
        elif self.arrival == "detectors":
            why, todo = "--arrival detectors", "several processes: --part 1/2 and --part 2/2"
            wrong = ["workers", "speed"]
            if self.interval == 0:
                what = "--arrival detectors needs an interval over which they arrive"
                raise UsageError(what, todo="leave out --interval 0")
        else:
            why, todo = "--data", "it is for --replay"
            wrong = ["speed"]
        if self.registry is None and self.subject != "topic":
            raise UsageError(
                "--subject has no effect without --registry", todo="add --registry URL"
            )
        for name in wrong:
            source = self.context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                raise UsageError(f"--{name} has no effect with {why}", todo=todo)

    def _visits(self) -> list[VisitFiles]:
        from alertstream.avro.schemas import package_folder
        from alertstream.sending.visits.recordings import recorded_visits, split_by_visit
        from alertstream.sending.visits.schedule import visits_in

        if self.replay:
            return recorded_visits(self.replay)
        return split_by_visit(visits_in(self.data or [package_folder("data")]))

    async def _topic(self, connection: Connection, visits: Sequence[VisitFiles]) -> Topic:
        """Return the topic, which is made if it is missing."""
        from alertstream.kafka.admin import make_topics
        from alertstream.kafka.topics import TopicLayout

        recorded = 0
        if self.replay:
            messages = [each.message for visit in visits for each in visit.records or ()]
            recorded = max(message.partition + 1 for message in messages if message)
        layout = TopicLayout(self.partitions or recorded or 4, self.replication)
        topic = (await make_topics(connection, [self.topic], layout))[self.topic]
        if self.worker:
            return topic
        if self.partitions and topic.partitions != self.partitions:
            text = f"the topic {topic.name} is there, with {topic.partitions} partitions"
            notice(f"{text}: --partitions has no effect")
        if recorded > topic.partitions:
            text = f"recorded from {recorded} partitions: messages go to one of {topic.partitions}"
            notice(f"{text}, the recorded number modulo {topic.partitions}")
        return topic

    def _options(
        self, topic: Topic, visits: Sequence[VisitFiles], part: tuple[int, int]
    ) -> SendOptions:
        from alertstream.avro.container.blocks import Shard
        from alertstream.sending.sender import SendOptions
        from alertstream.sending.visits.moving import movers
        from alertstream.sending.visits.schedule import files_of

        return SendOptions(
            topic,
            0.0 if self.replay else self.interval,
            0 if self.replay else self.limit,
            Shard(*part),
            seed=self.seed if self.arrival == "detectors" else None,
            speed=self.speed if self.replay else None,
            movers=movers(files_of(visits)) if self.now else {},
        )

    def _codec(self) -> str:
        return self.compression or ("snappy" if self.arrival == "detectors" else "none")

    def _interruption(self, sent: Sequence[VisitSent], visits: int) -> AlertStreamError | None:
        """Return an error that says what an interruption left unsent; None if there is none."""
        if not self.repeat:
            return None
        left = visits * self.repeat - len(sent)
        parts = [f"visit {each.visit} was sent in part" for each in sent if each.interrupted]
        if left:
            parts.append(f"{left} of {visits * self.repeat} visits were not sent")
        what = f"interrupted: {', '.join(parts)}"
        return InterruptedSendError(what, todo="send the rest again") if parts else None

    def _commands(self, number: int, of: int) -> list[list[str]]:
        """Return each worker's command, with its share of this process's part."""
        from alertstream.cli.workers import worker_command

        parts = [f"{number + of * worker}/{of * self.workers}" for worker in range(self.workers)]
        return [worker_command("--part", each) for each in parts]

    def _report(self, visit: VisitSent) -> None:
        if self.format == "json":
            write_line(as_json(visit.as_report() if self.worker else visit.as_json()))
        else:
            write_line(f"visit {visit.visit}: {visit.as_line()}")
        if visit.error:
            write_error(visit.error)


class InterruptedSendError(AlertStreamError):
    """The user stopped it before all was sent."""


def part_of_visit(text: str | None) -> tuple[int, int]:
    """Return the part's number, from 1, and how many parts there are; 1 of 1 without ``text``.

    :raises UsageError: it is not a valid part.
    """
    found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text or "1/1")
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"{text} is not a valid part", todo="give it as in 2/3, the second third")
    return int(found[1]), int(found[2])


class _Reported:
    """Reports this worker's progress regularly to its parent process."""

    def __init__(self) -> None:
        self._reported = 0.0

    def show(self, visit: VisitSent, share: float) -> None:
        """Report a visit's progress."""
        if time.monotonic() - self._reported > PROGRESS_EVERY:
            self._reported = time.monotonic()
            write_line(as_json({"share": share, "acknowledged": visit.acknowledged}))

    def wait(self, start: float) -> None:
        """Report nothing while nothing is sent."""
