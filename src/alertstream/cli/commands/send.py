"""``alertstream send`` on the command line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alertstream.cli import options
from alertstream.cli.option_groups import choice, group, worker_command
from alertstream.cli.parameters import Format, TopicName
from alertstream.cli.terminal.output import DONE, FAILED, as_json, notice, write_error, write_line

if TYPE_CHECKING:
    from alertstream.avro.schemas import Schemas
    from alertstream.kafka.connection import Connection
    from alertstream.sending.sender import VisitSent

PROGRESS_TOLD = 0.2
"""Seconds after which a worker tells again how far it is."""


def send(
    *,
    connection: Connection = group(options.connection),
    topic: TopicName,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Avro container file of a visit, or folder of these, or of folders with one "
            "visit's files each; repeatable.",
        ),
    ] = None,
    interval: Annotated[
        float, typer.Option(min=0, help="Seconds from burst to burst; 0: as fast as possible.")
    ] = 39.0,
    align: Annotated[
        bool, typer.Option(help="Start bursts at multiples of the interval on the clock.")
    ] = True,
    limit: Annotated[int, typer.Option(min=0, help="Alerts of a visit at most; 0: all.")] = 10_000,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Send this part of each visit, as 2/3; others send the rest."
        ),
    ] = None,
    sharing: options.Sharing = group(options.sharing, shared=False),
    repeat: Annotated[int, typer.Option(min=0, help="Times over the data; 0: for ever.")] = 1,
    partitions: Annotated[
        int, typer.Option(min=1, help="Partitions of the topic, if it has to be made.")
    ] = 4,
    replication: Annotated[
        int | None, typer.Option(min=1, help="Copies of it; default: 3, if there are 3 brokers.")
    ] = None,
    compression: Annotated[
        str,
        choice("compression", ("none", "gzip", "snappy", "lz4", "zstd")),
    ] = "none",
    schema_id: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Send under this schema id.")
    ] = None,
    schemas: Schemas = group(options.schemas),
    subject: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Where --registry has the schemas; default: TOPIC-value."
        ),
    ] = None,
    format: Format = "text",
) -> int:
    """Send alerts to a topic: one file a visit, or one folder, and one burst a visit.

    Example: alertstream send localhost:9092 alerts --interval 2
    """
    from alertstream.avro.blocks import Shard
    from alertstream.avro.schemas import package_folder
    from alertstream.cli import workers
    from alertstream.cli.event_loop import input_lines, run
    from alertstream.cli.terminal import progress as screen
    from alertstream.kafka import producer as kafka
    from alertstream.kafka.admin import TopicLayout, make_topics
    from alertstream.sending import sender
    from alertstream.sending.encoders import message_encoders
    from alertstream.sending.schedule import Cadence, WallClock, bursts, files_of, visits_in

    number, of = options.part_of_visit(part)
    cadence, clock = Cadence(interval, align, repeat), WallClock()
    layout = TopicLayout(partitions, replication)
    visits = visits_in(data or [package_folder("data")])
    encoders = message_encoders(
        files_of(visits),
        schemas,
        schema_id=schema_id,
        folder=schemas.keep_in,
        subject=subject or f"{topic}-value",
    )

    def report(visit: VisitSent) -> None:
        if format == "json":
            write_line(as_json(_visit_json(visit)))
        else:
            write_line(f"visit {visit.visit}: {sender.visit_line(visit)}")
        if visit.error:
            write_error(visit.error)

    async def alone(stop: asyncio.Event) -> VisitSent:
        made = (await make_topics(connection, [topic], layout))[topic]
        sends = sender.SendOptions(made, interval, limit, Shard(number - 1, of))
        due = (
            workers.told_bursts(input_lines(), visits, stop)
            if sharing.is_worker
            else bursts(visits, cadence, clock, stop)
        )
        async with kafka.producer(connection, compression=compression, notice=notice) as producer:
            with _told_progress() if sharing.is_worker else screen.send_progress() as show:
                return await sender.send(
                    *(producer, sends, encoders, due),
                    clock=clock,
                    stop=stop,
                    progress=show,
                    report=report,
                )

    async def together(stop: asyncio.Event) -> VisitSent:
        await make_topics(connection, [topic], layout)
        due = bursts(visits, cadence, clock, stop)
        with screen.send_progress() as show:
            return await workers.send_with_workers(
                *(part_for, sharing.workers, visits, due), stop=stop, progress=show, report=report
            )

    def part_for(worker: int) -> list[str]:
        return worker_command("--part", f"{number + of * (worker - 1)}/{of * sharing.workers}")

    total = run(together if sharing.workers > 1 else alone)
    if not sharing.is_worker:
        notice(f"sent: {sender.visit_line(total)}")
    return FAILED if total.error else DONE


@contextmanager
def _told_progress() -> Iterator[Callable[[VisitSent, float], None]]:
    """Give what tells whoever has started this worker how far it is, now and then."""
    told = 0.0

    def tell(visit: VisitSent, share: float) -> None:
        nonlocal told
        if time.monotonic() - told > PROGRESS_TOLD:
            told = time.monotonic()
            write_line(as_json({"share": share, "acknowledged": visit.acknowledged}))

    yield tell


def _visit_json(visit: VisitSent) -> dict[str, Any]:
    return {
        "visit": visit.visit,
        "file": visit.file,
        "alerts": visit.acknowledged,
        "bytes": visit.bytes,
        "seconds": round(visit.seconds, 6),
        "alerts_per_second": round(visit.rate, 1),
        "planned": visit.planned,
        "acknowledged": visit.acknowledged,
        "failed": visit.failed,
        "late": visit.late,
    }
