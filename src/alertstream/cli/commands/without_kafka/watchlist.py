"""The command below ``alertstream watchlist``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from alertstream.cli.options.shared import FormatOptions, option_group
from alertstream.cli.terminal.output import DONE, as_json, write_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alertstream.sky.joining import Joined

_options = option_group("Options")


@dataclass(frozen=True, kw_only=True)
class Build(FormatOptions):
    """Join tables of targets into one that loads quickly, and summarise it.

    Example: alertstream watchlist build mine.csv vizier.vot -o targets.parquet
    """

    tables: list[Path] = typer.Argument(
        metavar="TABLE", help="CSV, TSV, VOTable, FITS, Parquet or ECSV, with RA and Dec."
    )
    output: Path = _options(..., "The Parquet file to write.", "FILE", names=("--output", "-o"))
    radius: str = _options("2 arcsec", "How near to an earlier target one is a duplicate.", "ANGLE")
    unique: bool = _options(False, "Leave duplicates out.", names=("--unique",))

    def run(self) -> int:
        """Write the table and its summary."""
        from alertstream.cli.terminal.progress import share_progress
        from alertstream.sky.joining import join_tables
        from alertstream.sky.sphere import parse_radius

        radius = parse_radius(self.radius, "--radius")
        with share_progress("joining tables") as progress:
            joined = join_tables(
                self.tables, self.output, radius, unique=self.unique, progress=progress
            )
        if self.format == "json":
            fraction = {"sky_fraction": joined.sky_fraction}
            about = {"file": str(self.output), "tables": [*map(str, self.tables)]}
            write_line(as_json({**about, **asdict(joined), **fraction}))
        else:
            for line in self._lines(joined):
                write_line(line)
        return DONE

    def _lines(self, joined: Joined) -> Iterator[str]:
        for path, rows, dropped in zip(
            self.tables, joined.rows, joined.without_position, strict=True
        ):
            yield f"{path}  {rows:,} rows, {dropped:,} of them without a position"
        left_out = ", left out" if self.unique else ", kept: --unique leaves them out"
        note = left_out if joined.duplicates else ""
        yield f"duplicates  {joined.duplicates:,} within {self.radius} of an earlier row{note}"
        fraction = f"{joined.sky_fraction:.2%} of the sky, in cells of 14 arcmin"
        yield f"coverage  {joined.square_degrees:,.2f} square degrees, {fraction}"
        yield f"{self.output}  {joined.targets:,} targets"
