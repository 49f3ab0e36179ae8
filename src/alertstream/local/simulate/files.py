"""Simulated visits to files: LSST alerts as realistic as it takes to try out everything else.

The same options give the same files. Some of a visit's messages may be faults that break consumers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fastavro import schemaless_writer, writer

from alertstream.avro.schemas import Schema, parsed
from alertstream.avro.wire import HEADER_SIZE, pack
from alertstream.errors import SchemaError, UsageError
from alertstream.local.simulate.alert import History, Records, Values
from alertstream.local.simulate.cutouts import Cutouts, Noise
from alertstream.local.simulate.sky import SLOT, Field, Object, visit_id
from alertstream.system.files import Part, writing

NIGHT = datetime(2026, 11, 25, 7, 4, tzinfo=UTC)
"""Middle of the first visit; the others follow every 39 s."""
UNDECODABLE = ("truncated", "trailing", "unknown-id", "no-header", "garbage", "empty")
"""Kinds of faults that nobody can decode."""
FAULTS = (*UNDECODABLE, "oversize", "duplicate", "schema-change")
MANIFEST = "faults.jsonl"
"""The file beside the visits that says which messages are faults."""
UNKNOWN_ID = 999_999
OVERSIZE = 2 * 1024 * 1024
"""Bytes on top of an alert's own; Kafka's topics and clients take 1 MiB unless told otherwise."""

Report = Callable[[int, int], None]
"""Called with a visit's index and how many of its alerts are made."""


@dataclass(frozen=True)
class SimulateOptions:
    """What to simulate, and the folder to write it to.

    :param history: fewest and most earlier sources of an object.
    :param cutout_size: edge length of a cutout, pixel.
    :raises UsageError: an option is out of bounds.
    """

    folder: Path
    visits: int = 4
    alerts: int = 1000
    history: tuple[int, int] = (0, 100)
    cutout_size: int = 91
    seed: int = 1

    def __post_init__(self) -> None:
        least, most = self.history
        for name, value, low, high in (
            ("--visits", self.visits, 1, 4096),
            ("--alerts", self.alerts, 1, 131_072),
            ("--cutout-size", self.cutout_size, 15, 999),
            ("the longest --history", most, 0, 1000),
            ("the shortest --history", least, 0, most),
        ):
            if not low <= value <= high:
                raise UsageError(f"{name} must be {low} to {high}, not {value}")


@dataclass(frozen=True)
class Faults:
    """Which faults each visit gets, one of each kind.

    :param kinds: of ``FAULTS``.
    :param schema_id: of all other alerts.
    :param other: schema and id of the one that a ``schema-change`` has.
    """

    kinds: Sequence[str]
    schema_id: int
    other: tuple[Schema, int]


def simulate(
    options: SimulateOptions,
    schema: Schema,
    report: Report = lambda visit, done: None,
    faults: Faults | None = None,
) -> list[Path]:
    """Write one Avro container file a visit, one alert a block; return the files in time order.

    With ``faults`` the files hold whole messages, as plain ``bytes``, and ``MANIFEST`` beside
    them says which of them are the faults.

    :param schema: a version of LSST's alert schema.
    :raises UsageError: there are more faults than alerts.
    :raises SchemaError: it is not a schema of LSST alerts.
    :raises DataError: a file cannot be written.
    """
    if faults and len(faults.kinds) > options.alerts:
        raise UsageError(
            f"a visit of {options.alerts} alerts cannot have {len(faults.kinds)} faults",
            todo="give more --alerts",
        )
    checked = parsed(schema)
    manifest, files = options.folder / MANIFEST, []
    found: list[Values] = []
    with writing(options.folder, what="the visits", option="DIR"):
        options.folder.mkdir(parents=True, exist_ok=True)
        manifest.unlink(missing_ok=True)
        for index in range(options.visits):
            path = options.folder / f"visit-{_visit(index)}.avro"
            marker = Random(f"{options.seed}/{index}/marker").randbytes(16)
            records: Iterable[Any] = (
                _messages(options, checked, index, faults, found)
                if faults
                else visit_alerts(options, checked, index)
            )
            _write(path, "bytes" if faults else checked, _reported(records, index, report), marker)
            files.append(path)
        if faults:
            lines = [json.dumps(fault) + "\n" for fault in found]
            manifest.write_text("".join(lines), encoding="utf-8")
    return files


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
    least, most = options.history
    field = Field.drawn(rng, NIGHT + index * SLOT, most)
    noise = Noise(image_rng, field.visit, options.cutout_size)
    for number in range(options.alerts):
        # Most objects are new or nearly so; few have been seen all year.
        earlier = least + int((most - least + 1) * rng.random() ** 3)
        thing, place = Object.drawn(rng, field, earlier), field.place(rng)
        drawn = Cutouts.drawn(image_rng, noise, field.visit, thing)
        history = History(rng, field, thing, place, drawn.fluxes["Template"], index << 17 | number)
        yield history.alert(
            other_records.get(number, records),
            earlier,
            drawn.fluxes["Difference"],
            drawn.fits(field, place),
        )


def _visit(index: int) -> int:
    """Return the id of the visit ``index`` (from 0)."""
    return visit_id(NIGHT + index * SLOT)[0]


def _write(path: Path, schema: Schema | str, records: Iterable[Any], marker: bytes) -> None:
    try:
        with Part(path) as part:
            writer(part.file, schema, records, sync_interval=1, sync_marker=marker)
            part.finish(sync=False)
    except (LookupError, ValueError, TypeError) as error:
        raise SchemaError(f"the schema cannot hold a simulated alert: {error}") from error


def _reported(records: Iterable[Any], index: int, report: Report) -> Iterator[Any]:
    for done, record in enumerate(records, start=1):
        yield record
        report(index, done)


def _messages(
    options: SimulateOptions, schema: Schema, index: int, faults: Faults, found: list[Values]
) -> Iterator[bytes]:
    """Yield a visit's messages; ``found`` gets the manifest's lines on those that are faults."""
    rng = Random(f"{options.seed}/{index}/faults")
    places = rng.sample(range(options.alerts), len(faults.kinds))
    kinds = dict(zip(places, faults.kinds, strict=True))
    others = {number: faults.other[0] for number, kind in kinds.items() if kind == "schema-change"}
    visit, shift = _visit(index), 0
    for number, alert in enumerate(visit_alerts(options, schema, index, others)):
        kind = kinds.get(number)
        own, schema_id = faults.other if kind == "schema-change" else (schema, faults.schema_id)
        if kind == "oversize":
            alert["cutoutTemplate"] += bytes(OVERSIZE)
        body = BytesIO()
        schemaless_writer(body, own, alert)
        message = pack(schema_id, body.getvalue())
        if kind == "duplicate":
            yield message
            shift = 1
        if kind:
            place = {"file": f"visit-{visit}.avro", "visit": visit, "index": number + shift}
            found.append({**place, "kind": kind, "decodable": kind not in UNDECODABLE})
        yield _damaged(message, kind, rng)


def _damaged(message: bytes, kind: str | None, rng: Random) -> bytes:
    body = message[HEADER_SIZE:]
    match kind:
        case "truncated":
            return message[: len(message) * 2 // 3]
        case "trailing":
            return message + rng.randbytes(100)
        case "unknown-id":
            return pack(UNKNOWN_ID, body)
        case "no-header":
            return body
        case "garbage":
            return message[:HEADER_SIZE] + rng.randbytes(len(body))
        case "empty":
            return b""
    return message
