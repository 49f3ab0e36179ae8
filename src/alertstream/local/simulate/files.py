"""Simulated visits to files: LSST alerts as realistic as it takes to try out everything else.

The same options give the same files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from fastavro import writer

from alertstream.avro.schemas import Schema, parsed
from alertstream.errors import DataError, SchemaError
from alertstream.local.simulate.faults import MANIFEST, UNDECODABLE, Faults
from alertstream.local.simulate.visits import SimulateOptions, visit_alerts

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
