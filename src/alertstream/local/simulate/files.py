"""Simulated visits to files: LSST alerts as realistic as it takes to try out everything else.

The same options give the same files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fastavro import writer

from alertstream.avro.schemas import Schema, parsed
from alertstream.errors import DataError, SchemaError, UsageError
from alertstream.local.simulate.alert import History
from alertstream.local.simulate.cutouts import Cutouts, Noise, fits_header
from alertstream.local.simulate.faults import MANIFEST, UNDECODABLE, Faults
from alertstream.local.simulate.records import Records, Values
from alertstream.local.simulate.sky import SLOT, Field, Object, visit_id

NIGHT = datetime(2026, 11, 25, 7, 4, tzinfo=UTC)
"""Middle of the first visit, unless told otherwise."""


@dataclass(frozen=True)
class SimulateOptions:
    """What to simulate, and the folder to write it to.

    :param history: fewest and most earlier sources of an object.
    :param cutout_size: edge length of a cutout, pixel.
    :param start: middle of the first visit (naive: UTC); the others follow every 39 s.
    :raises UsageError: an option is out of bounds.
    """

    folder: Path
    visits: int = 4
    alerts: int = 1000
    schema: str = "10.0"
    history: tuple[int, int] = (0, 100)
    cutout_size: int = 91
    seed: int = 1
    start: datetime = NIGHT

    def __post_init__(self) -> None:
        least, most = self.history
        for name, value, low, high in (
            ("--visits", self.visits, 1, 4096),
            ("--alerts", self.alerts, 1, 131_072),
            ("--cutout-size", self.cutout_size, 15, 999),
            ("the longest --history", most, 0, 1000),
            ("the shortest --history", least, 0, most),
            ("the year of the start", self.start.year, 2014, 2050),
        ):
            if not low <= value <= high:
                raise UsageError(f"{name} must be {low} to {high}, not {value}")

    def middle(self, index: int) -> datetime:
        """Return the middle of the visit ``index`` (from 0), UTC."""
        naive = self.start.tzinfo is None
        start = self.start.replace(tzinfo=UTC) if naive else self.start.astimezone(UTC)
        return start + index * SLOT

    def visit_id(self, index: int) -> int:
        """Return the id of the visit ``index`` (from 0)."""
        return visit_id(self.middle(index))[0]


def visit_alerts(
    options: SimulateOptions, schema: Schema, index: int, others: Mapping[int, Schema] | None = None
) -> Iterator[Values]:
    """Yield the alerts of the visit ``index`` (from 0), each a record of ``schema``.

    :param others: which alerts (from 0) are records of another schema.
    :raises SchemaError: it is not a schema of LSST alerts.
    """
    records = Records(parsed(schema))
    other_records = {number: Records(parsed(other)) for number, other in (others or {}).items()}
    rng = Random(f"{options.seed}/{index}")
    image_rng = np.random.default_rng(rng.getrandbits(64))
    field = Field.drawn(rng, options.middle(index), options.history[1])
    noise = Noise(image_rng, field.visit, options.cutout_size)
    least, most = options.history
    for number in range(options.alerts):
        # Most objects are new or nearly so; few have been seen all year.
        earlier = least + int((most - least + 1) * rng.random() ** 3)
        thing, place = Object.drawn(rng, field, earlier), field.place(rng)
        drawn = Cutouts.drawn(image_rng, noise, field.visit, thing)
        header = fits_header(field, place, (drawn.x, drawn.y), options.cutout_size)
        history = History(rng, field, thing, place, drawn.fluxes["Template"], index << 17 | number)
        yield history.alert(
            other_records.get(number, records),
            earlier,
            drawn.fluxes["Difference"],
            drawn.fits(header),
        )


Report = Callable[[int, int], None]
"""Called with a visit's index and how many of its alerts are made."""


@dataclass(frozen=True)
class Fault:
    """A line of the manifest: which message of which file is one that breaks consumers.

    :param index: from 0.
    """

    file: str
    visit: int
    index: int
    kind: str
    decodable: bool


def simulate(
    options: SimulateOptions,
    schema: Schema,
    report: Report = lambda visit, done: None,
    faults: Faults | None = None,
) -> list[Path]:
    """Write one Avro container file a visit, one alert a block; return the files in time order.

    With ``faults`` the files hold whole messages, as plain ``bytes``, and ``MANIFEST`` beside
    them says which of them are the faults.

    :param schema: the Avro schema of the version that ``options.schema`` names.
    :raises UsageError: there are more faults than alerts.
    :raises SchemaError: it is not a schema of LSST alerts.
    :raises DataError: a file cannot be written.
    """
    checked = parsed(schema)
    manifest, found = options.folder / MANIFEST, []
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        manifest.unlink(missing_ok=True)
        files = []
        for index in range(options.visits):
            path = options.folder / f"visit-{options.visit_id(index)}.avro"
            files.append(path)
            marker = Random(f"{options.seed}/{index}/marker").randbytes(16)
            if faults is None:
                alerts = visit_alerts(options, checked, index)
                _write(path, checked, _reported(alerts, index, report), marker)
            else:
                made: list[Fault] = []
                messages = _with_faults(options, checked, index, faults, made)
                _write(path, "bytes", _reported(messages, index, report), marker)
                found += made
        if faults is not None:
            lines = [json.dumps(asdict(fault)) + "\n" for fault in found]
            manifest.write_text("".join(lines), encoding="utf-8")
        return files
    except OSError as error:
        raise DataError(
            f"cannot be written: {error.strerror}", where=str(options.folder)
        ) from error


def _write(path: Path, schema: Schema | str, records: Iterable[Any], marker: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            writer(file, schema, records, sync_interval=1, sync_marker=marker)
        part.replace(path)
    except (LookupError, ValueError, TypeError) as error:
        raise SchemaError(f"the schema cannot hold a simulated alert: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _reported(records: Iterable[Any], index: int, report: Report) -> Iterator[Any]:
    for done, record in enumerate(records, start=1):
        yield record
        report(index, done)


def _with_faults(
    options: SimulateOptions, schema: Schema, index: int, faults: Faults, made: list[Fault]
) -> Iterator[bytes]:
    """Yield a visit's messages; ``made`` gets those that are faults."""
    rng = Random(f"{options.seed}/{index}/faults")
    kinds = faults.drawn(rng, options.alerts)
    others = {number: faults.other[0] for number, kind in kinds.items() if kind == "schema-change"}
    alerts = visit_alerts(options, schema, index, others)
    visit = options.visit_id(index)
    for number, (message, kind) in enumerate(faults.messages(alerts, schema, kinds, rng)):
        if kind:
            made.append(Fault(f"visit-{visit}.avro", visit, number, kind, kind not in UNDECODABLE))
        yield message
