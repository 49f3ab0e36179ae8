"""``alertstream simulate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from alertstream.cli.commands.without_kafka.schema import schema_id_of_version
from alertstream.cli.options.completion import complete_versions
from alertstream.cli.options.schemas import FolderOptions
from alertstream.cli.options.shared import option_group
from alertstream.cli.terminal.output import DONE, notice, write_line
from alertstream.errors import UsageError

if TYPE_CHECKING:
    from alertstream.avro.schemas import Schemas
    from alertstream.local.simulate.files import Faults


_options = option_group("Options")


@dataclass(frozen=True, kw_only=True)
class Simulate(FolderOptions):
    """Simulate visits: container files of realistic alerts to send.

    Example: alertstream simulate night --visits 2 --alerts 100
    """

    folder: Path = typer.Argument(metavar="DIR", help="Folder that gets one file per visit.")
    visits: int = _options(4, "How many visits.", "N")
    alerts: int = _options(1000, "Alerts per visit.", "N")
    schema: str = _options(
        "10.0", "Version of LSST's alert schema.", "VERSION", autocompletion=complete_versions
    )
    history: str = _options("0-100", "Earlier sources per alert: a number or a range.", "N-N")
    cutout_size: int = _options(91, "Edge length of a cutout in pixels.", "N")
    seed: int = _options(1, "The same seed gives the same files.", "N")
    faults: str | None = _options(
        None,
        "Add messages that break consumers, one of each kind per visit: all, truncated, "
        "trailing, unknown-id, no-header, garbage, empty, oversize, duplicate, schema-change.",
        "KIND[,KIND...]",
    )

    def run(self) -> int:
        """Write the files."""
        from alertstream.cli.terminal.progress import simulate_progress
        from alertstream.local.simulate.files import SimulateOptions, simulate

        schema_id, schemas = schema_id_of_version(self.schema), self.known_schemas()
        wanted = SimulateOptions(
            folder=self.folder,
            visits=self.visits,
            alerts=self.alerts,
            history=_range(self.history),
            cutout_size=self.cutout_size,
            seed=self.seed,
        )
        schema = schemas.by_id(schema_id)
        faults = _faults(self.faults, schema_id, schemas) if self.faults else None
        before = {*self.folder.glob("*.avro")}
        with simulate_progress(self.visits * self.alerts, self.alerts) as progress:
            files = simulate(wanted, schema, progress, faults)
        for file in files:
            write_line(str(file))
        if replaced := before & {*files}:
            notice(f"replaced: {len(replaced)} of the files that were in {self.folder}")
        if others := before - {*files}:
            text = f"besides, there were {len(others)} .avro files in {self.folder}"
            notice(f"{text}, such as {min(others).name}: send takes them, too")
        size = sum(file.stat().st_size for file in files)
        notice(f"visits: {len(files)}, alerts per visit: {self.alerts}, bytes: {size}")
        return DONE


def _range(text: str) -> tuple[int, int]:
    fewest, _, most = text.partition("-")
    if not (fewest.isdecimal() and (most or fewest).isdecimal()):
        raise UsageError(
            f"{text} is not a valid --history", todo="give a number, or two as in 0-100"
        )
    return int(fewest), int(most or fewest)


def _faults(text: str, schema_id: int, schemas: Schemas) -> Faults:
    from alertstream.local.simulate.files import FAULTS, Faults

    named = tuple(dict.fromkeys(kind.strip() for kind in text.split(",")))
    for kind in named:
        if kind not in (*FAULTS, "all"):
            raise UsageError(
                f"{kind} is not a valid fault", todo=f"choose {', '.join(FAULTS)} or all"
            )
    near = min(set(schemas.ids()) - {schema_id}, key=lambda each: (abs(each - schema_id), -each))
    kinds = FAULTS if "all" in named else named
    return Faults(kinds, schema_id, (schemas.by_id(near), near))
