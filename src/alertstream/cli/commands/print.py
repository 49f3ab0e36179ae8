"""``alertstream print``."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from alertstream.cli.commands.reading import SelectedReading
from alertstream.cli.options.completion import complete_fields
from alertstream.cli.options.schemas import ThinOptions
from alertstream.cli.options.shared import option_group, topic_argument
from alertstream.cli.terminal.output import ReaderGone, notice, write_lines
from alertstream.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from alertstream.alert.pictures import Triplet
    from alertstream.printing.writers import Writer


_what_to_show = option_group("What to show")
_files = option_group("Files to write")
_output = option_group("Output")


@dataclass(frozen=True, kw_only=True)
class Print(SelectedReading, ThinOptions):
    """Show a topic's alerts, or what filters pass, and save them.

    Example: alertstream print localhost:9092 alerts --fields band,magnitude -n 10
    """

    topic: str = topic_argument()
    interval: int = typer.Argument(
        1, metavar="INTERVAL", min=1, help="Show only every INTERVALth alert."
    )
    count: int = _what_to_show(
        0, "Stop after so many; 0: no limit.", "N", names=("--count", "-n"), min=0
    )
    visit: int | None = _what_to_show(None, "Show only this visit's alerts.", "VISIT")
    fields: str | None = _what_to_show(
        None,
        "Show only these: dotted paths, separated by commas.",
        "PATH[,PATH...]",
        autocompletion=complete_fields,
    )
    cutouts: bool = _what_to_show(
        False,
        "In JSON, show images and undecodable messages in base64, not just their size.",
        names=("--cutouts",),
    )
    show_cutouts: bool = _what_to_show(
        False, "Draw the cutouts in the terminal.", names=("--show-cutouts",)
    )
    save: list[Path] | None = _files(
        None,
        "Save what is shown: .avro, which send can replay; .parquet, a table of "
        "--fields; .html, a page with pictures and light curves; repeatable.",
        "FILE",
        names=("--save", "--html"),
    )
    stamp_dir: Path | None = _files(
        None, "Folder that gets the cutouts as files.", "DIR", names=("--stampDir", "--stamp-dir")
    )
    stamp_format: Literal["fits", "png", "both"] = _files(
        "fits",
        "fits, files as they came; png, one picture per alert; or both.",
        "FORMAT",
        names=("--stampFormat", "--stamp-format"),
    )
    format: Literal["text", "json", "csv"] = _output(
        "text", "text, for people; json, one object per line; or csv, a table.", "FORMAT"
    )

    def run(self) -> int:
        """Show, and save, until the end or a signal."""
        from alertstream.alert.fields import require_fields
        from alertstream.cli.terminal.look import look
        from alertstream.printing.printer import Printer, PrintOptions
        from alertstream.printing.writers import writer_for
        from alertstream.printing.writers.cutout_files import CutoutFolder

        schemas = self.known_schemas()
        printed = PrintOptions(
            interval=self.interval,
            count=self.count,
            format=self.format,
            fields=tuple(each.strip() for each in self.fields.split(",")) if self.fields else (),
            images=self.cutouts,
            visit=self.visit,
            without=self.fields_without(schemas),
            look=look(),
        )
        require_fields(printed.fields, schemas, where="--fields")
        selection = self.selection(schemas, notice)
        if self.stamp_format != "fits" and self.stamp_dir is None:
            notice("--stampFormat has no effect without --stampDir")
        connection, subscription = self.connection(), self.subscription(self.topic)
        draw = self._drawing() if self.show_cutouts else None
        writers: list[Writer] = []
        if self.stamp_dir:
            writers.append(CutoutFolder(self.stamp_dir, self.stamp_format))
        with ExitStack() as stack:
            for path in self.save or ():
                # A group's earlier alerts are in the existing file, and are not read again.
                keep = self.group is not None
                writer = writer_for(path, self.topic, printed.fields, schemas, notice, keep=keep)
                writers.append(stack.enter_context(writer))
            printer = Printer(
                schemas,
                printed,
                partial(write_lines, painted=True),
                writers=writers,
                selection=selection,
                draw=draw,
                notice=notice,
            )
            try:
                return self.read_with(printer, connection, subscription)
            except ReaderGone:
                # Durable writers have saved already what was shown.
                for each in writers:
                    if not each.durable:
                        each.close()
                raise

    def _drawing(self) -> Callable[[Triplet], str]:
        """Return a function that draws cutouts in the terminal.

        :raises UsageError: there is no terminal, or the format is not text.
        """
        from alertstream.cli.terminal.look import cutout_drawing

        elsewhere = "save pictures: --stampDir DIR --stampFormat png, or --save FILE.html"
        if self.format != "text":
            what = f"--show-cutouts does not work with --format {self.format}"
            raise UsageError(what, todo=elsewhere)
        if not sys.stdout.isatty():
            raise UsageError("--show-cutouts needs a terminal as its output", todo=elsewhere)
        return cutout_drawing()
