"""``alertstream send``."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from alertstream.cli.options.schemas import SchemaOptions
from alertstream.cli.options.shared import (
    FormatOptions,
    KafkaOptions,
    WorkerOptions,
    option_group,
    topic_argument,
)
from alertstream.cli.terminal.output import DONE, FAILED, as_json, notice, write_error, write_line
from alertstream.errors import UsageError

if TYPE_CHECKING:
    import asyncio

    from alertstream.sending.sender import VisitSent

PROGRESS_EVERY = 0.2
"""Seconds after which a worker reports again how far it is."""


_visits = option_group("Visits")
_topic = option_group("Topic")
_schemas = option_group("Schemas")


@dataclass(frozen=True, kw_only=True)
class Send(KafkaOptions, SchemaOptions, WorkerOptions, FormatOptions):
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
    limit: int = _visits(10_000, "Maximum alerts per visit; 0: all.", "N", min=0)
    part: str | None = _visits(
        None, "Send this part of each visit, as in 2/3; others send the rest.", "I/N"
    )
    repeat: int = _visits(1, "How often to send all the data; 0: forever.", "N", min=0)
    partitions: int = _topic(4, "Partitions of the topic, if it has to be created.", "N", min=1)
    replication: int | None = _topic(
        None, "Its replication factor; default: 3, if there are 3 brokers.", "N", min=1
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = _topic(
        "none", "none, gzip, snappy, lz4 or zstd.", "CODEC"
    )
    schema_id: int | None = _schemas(None, "Send under this schema id.", "ID", min=0, max=2**32 - 1)
    subject: str | None = _schemas(
        None, "Where --registry has the schemas; default: TOPIC-value.", "NAME"
    )

    def run(self) -> int:
        """Send all visits; return 1 if any alert was not acknowledged."""
        from alertstream.avro.blocks import Shard
        from alertstream.avro.schemas import package_folder
        from alertstream.cli.event_loop import input_lines, run
        from alertstream.cli.terminal.progress import send_progress
        from alertstream.cli.workers import ordered_bursts, send_with_workers
        from alertstream.kafka.admin import make_topics
        from alertstream.kafka.producer import producer
        from alertstream.kafka.topics import TopicLayout
        from alertstream.sending.encoders import message_encoders
        from alertstream.sending.schedule import Cadence, Clock, bursts, files_of, visits_in
        from alertstream.sending.sender import SendOptions, send

        number, of = part_of_visit(self.part)
        connection, schemas = self.connection(), self.known_schemas()
        visits = visits_in(self.data or [package_folder("data")])
        clock, layout = Clock(), TopicLayout(self.partitions, self.replication)
        cadence = Cadence(self.interval, self.align, self.repeat)

        async def main(stop: asyncio.Event) -> VisitSent:
            encoders = await message_encoders(
                files_of(visits),
                schemas,
                schema_id=self.schema_id,
                subject=self.subject or f"{self.topic}-value",
            )
            topic = (await make_topics(connection, [self.topic], layout))[self.topic]
            due = (
                ordered_bursts(input_lines(), visits, stop)
                if self.worker
                else bursts(visits, cadence, clock, stop)
            )
            with nullcontext(_reported_progress()) if self.worker else send_progress() as progress:
                how: Any = {"stop": stop, "progress": progress, "report": self._report}
                if self.workers > 1:
                    return await send_with_workers(self._commands(number, of), visits, due, **how)
                options = SendOptions(topic, self.interval, self.limit, Shard(number - 1, of))
                async with producer(
                    connection, compression=self.compression, notice=notice
                ) as sending:
                    return await send(sending, options, encoders, due, clock=clock, **how)

        total = run(main)
        if not self.worker:
            notice(f"sent: {total.as_line()}")
        return FAILED if total.error else DONE

    def _commands(self, number: int, of: int) -> list[list[str]]:
        """Return the command of each worker: with its part of what is this process's part."""
        from alertstream.cli.workers import worker_command

        parts = [f"{number + of * worker}/{of * self.workers}" for worker in range(self.workers)]
        return [worker_command("--part", each) for each in parts]

    def _report(self, visit: VisitSent) -> None:
        if self.format == "json":
            write_line(as_json(visit.as_json()))
        else:
            write_line(f"visit {visit.visit}: {visit.as_line()}")
        if visit.error:
            write_error(visit.error)


def part_of_visit(text: str | None) -> tuple[int, int]:
    """Return which part of each visit, from 1 on, of how many; all of it without ``text``.

    :raises UsageError: it is not a valid part.
    """
    found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text or "1/1")
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"{text} is not a valid part", todo="give it as in 2/3, the second third")
    return int(found[1]), int(found[2])


def _reported_progress() -> Callable[[VisitSent, float], None]:
    """Return what reports this worker's progress now and then to the process that started it."""
    reported = 0.0

    def report(visit: VisitSent, share: float) -> None:
        nonlocal reported
        if time.monotonic() - reported > PROGRESS_EVERY:
            reported = time.monotonic()
            write_line(as_json({"share": share, "acknowledged": visit.acknowledged}))

    return report
