"""The command ``alertstream print``."""

from __future__ import annotations

import asyncio
import importlib
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alertstream.cli import options
from alertstream.cli.completion import complete_fields
from alertstream.cli.option_groups import choice, group
from alertstream.cli.options import notice_start
from alertstream.cli.parameters import TopicOrPattern
from alertstream.cli.terminal.output import DONE, UNDECODABLE, ReaderGone, notice, write_lines
from alertstream.errors import UsageError

if TYPE_CHECKING:
    from alertstream.avro.schemas import Schemas
    from alertstream.kafka.connection import Connection
    from alertstream.printing.printer import Draw, PrintAccount, PrintOptions
    from alertstream.printing.writers.avro_file import Recorder
    from alertstream.printing.writers.html import Page
    from alertstream.printing.writers.parquet import ParquetTable

PAGES = (".html", ".htm")


def print_(
    *,
    connection: Connection = group(options.connection),
    topic: TopicOrPattern,
    interval: Annotated[
        int, typer.Argument(metavar="INTERVAL", min=1, help="Show every so many-th alert.")
    ] = 1,
    count: Annotated[
        int, typer.Option("--count", "-n", min=0, help="Stop after so many; 0: no limit.")
    ] = 0,
    fields: Annotated[
        str | None,
        typer.Option(
            help="Show these only: dotted paths, with commas between.",
            autocompletion=complete_fields,
        ),
    ] = None,
    cutouts: Annotated[
        bool,
        typer.Option(
            "--cutouts",
            help="In JSON, have images, and what is undecodable, in base64, not just their size.",
        ),
    ] = False,
    stamp_dir: Annotated[
        Path | None,
        typer.Option("--stampDir", "--stamp-dir", help="Folder that gets cutouts as files."),
    ] = None,
    stamp_format: Annotated[
        str,
        choice(
            "stamp format",
            ("fits", "png", "both"),
            *("--stampFormat", "--stamp-format"),
            help="fits, files as they came; png, a picture an alert; or both.",
        ),
    ] = "fits",
    show_cutouts: Annotated[
        bool, typer.Option("--show-cutouts", help="Draw the cutouts in the terminal.")
    ] = False,
    visit: Annotated[int | None, typer.Option(help="Show this visit's alerts only.")] = None,
    save: Annotated[
        list[Path] | None,
        typer.Option(
            "--save",
            "--html",
            metavar="FILE",
            help="Save what is shown: .avro, which send can play again; .parquet, a table of "
            "--fields; .html, a page with pictures and light curves; repeatable.",
        ),
    ] = None,
    reading: options.Reading = group(options.reading),
    schemas: Schemas = group(options.schemas),
    format: Annotated[
        str,
        choice(
            "format",
            ("text", "json", "csv"),
            help="text, for people; json, a line an object; or csv, a table.",
        ),
    ] = "text",
) -> int:
    """Show a topic's alerts, as text, JSON or a table, and save them or their images.

    Example: alertstream print localhost:9092 alerts --fields band,magnitude -n 10
    """
    from alertstream.alert.fields import require_fields
    from alertstream.cli.event_loop import run
    from alertstream.cli.terminal import progress as screen
    from alertstream.kafka.consumer import subscribe
    from alertstream.printing import printer

    pages = any(path.suffix in PAGES for path in save or ())
    printed = printer.PrintOptions(
        interval=interval,
        count=count,
        format=format,
        fields=tuple(each.strip() for each in fields.split(",")) if fields else (),
        images=cutouts,
        stamp_dir=stamp_dir,
        stamp_format=stamp_format,
        pictures=show_cutouts or pages,
        light_curves=pages,
        visit=visit,
        look=screen.look(),
    )
    require_fields(printed.fields, schemas, where="--fields")
    if stamp_format != "fits" and stamp_dir is None:
        notice("--stampFormat says how --stampDir saves cutouts: without it, none are saved")
    if printed.draws:
        # Where its libraries are missing, this says so before anything is read.
        importlib.import_module("alertstream.alert.pictures")
    draw = _drawing(format) if show_cutouts else None
    subscription = reading.subscription((topic,))

    async def main(stop: asyncio.Event) -> PrintAccount:
        await notice_start(connection, subscription, reading)

        async def write(lines: list[str]) -> None:
            await write_lines(lines, stop)

        with screen.reading_progress() as progress:
            async with subscribe(
                connection, subscription, stop=stop, notice=notice, progress=progress
            ) as consumer:
                return await printer.print_stream(
                    consumer,
                    schemas,
                    printed,
                    stop=stop,
                    write=write,
                    notice=notice,
                    savers=savers,
                    draw=draw,
                )

    savers: list[Recorder | ParquetTable | Page] = []
    with ExitStack() as stack:
        for path in save or ():
            saver = _saver(path, topic, printed, schemas)
            stack.enter_context(saver)
            savers.append(saver)
        try:
            account = run(main)
        except ReaderGone:
            # What is durable is so already, as far as it was shown.
            for each in savers:
                if not each.durable:
                    each.close()
            raise
    _tell(account, printed)
    return UNDECODABLE if account.undecodable else DONE


def _tell(account: PrintAccount, printed: PrintOptions) -> None:
    """Tell what became of the messages."""
    parts = [
        f"{account.read} read = {account.printed} printed + {account.skipped} skipped"
        f" + {account.undecodable} undecodable"
    ]
    if printed.stamp_dir and (printed.stamp_format != "png" or account.stamps):
        parts.append(f"{account.stamps} cutouts saved")
    if printed.stamp_dir and printed.stamp_format != "fits":
        parts.append(f"{account.pictures} pictures saved")
    if account.not_shown:
        parts.append(f"{account.not_shown} cutouts cannot be shown")
    notice(", ".join(parts))
    for count, files in account.saved:
        notice(f"{count} saved in {', '.join(map(str, files)) or 'no file'}")


def _drawing(format: str) -> Draw:
    """Return what draws cutouts in the terminal.

    :raises UsageError: there is none, or it gets what is no text for people.
    """
    from alertstream.cli.terminal import progress as screen

    elsewhere = "save pictures: --stampDir DIR --stampFormat png, or --save FILE.html"
    if format != "text":
        raise UsageError(f"--show-cutouts does not go with --format {format}", todo=elsewhere)
    if not sys.stdout.isatty():
        raise UsageError(
            "--show-cutouts draws in a terminal, and the output goes to none", todo=elsewhere
        )
    return screen.cutout_drawing()


def _saver(
    path: Path, topic: str, printed: PrintOptions, schemas: Schemas
) -> Recorder | ParquetTable | Page:
    """Return what saves alerts in a file of the kind that its name ends with."""
    from alertstream.printing.printer import SHOWN
    from alertstream.printing.writers.avro_file import Recorder
    from alertstream.printing.writers.html import Page
    from alertstream.printing.writers.parquet import ParquetTable

    if path.suffix == ".avro":
        return Recorder(path, schemas, notice)
    if path.suffix == ".parquet":
        return ParquetTable(path, printed.fields or SHOWN, schemas)
    if path.suffix in PAGES:
        return Page(path, topic, notice)
    raise UsageError(
        f"{path.name or path} is no kind of file that is known",
        todo="end its name in .avro, .parquet or .html; for a table as text: --format csv > FILE",
    )
