"""Made-up LSST alerts as realistic as it takes to try out everything else.

One visit is one pointing of the 189 detectors; its alerts are variable stars, supernovae, flares,
moving objects and artefacts, each with its history and with three cutouts that show it. The same
options give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

from fastavro import schemaless_writer, writer

from alertstream.avro.schemas import Schema, parsed
from alertstream.avro.wire import HEADER_SIZE, pack
from alertstream.errors import DataError, SchemaError, UsageError
from alertstream.local.simulate.alert import Forms, Story, Values
from alertstream.local.simulate.cutouts import Noise, fits_header
from alertstream.local.simulate.sky import SLOT, Field, Object, visit_id

NIGHT = datetime(2026, 11, 25, 7, 4, tzinfo=UTC)
"""Middle of the first visit, unless told otherwise."""

UNDECODABLE = ("truncated", "trailing", "unknown-id", "no-header", "garbage", "empty")
FAULTS = (*UNDECODABLE, "oversize", "duplicate", "schema-change")
"""What breaks consumers: messages that nobody can decode, and alerts that only some expect."""
MANIFEST = "faults.jsonl"
UNKNOWN_ID = 999_999
OVERSIZE = 2 * 1024 * 1024
"""Bytes on top of an alert's own; Kafka's topics and clients take 1 MiB unless told otherwise."""


@dataclass(frozen=True)
class SimulateOptions:
    """What to make up, and where to write it.

    :param history: fewest and most earlier sources of an object.
    :param cutout_size: edge length of a cutout, pixel.
    :param start: middle of the first visit (naive: UTC); the others follow every 39 s.
    """

    folder: Path
    visits: int = 4
    alerts: int = 1000
    schema: str = "10.0"
    history: tuple[int, int] = (0, 100)
    cutout_size: int = 91
    seed: int = 1
    start: datetime | None = None


@dataclass(frozen=True)
class Faults:
    """What breaks consumers, once of each kind in each visit.

    :param kinds: of ``FAULTS``.
    :param schema_id: under which all other alerts are.
    :param other: schema and id of the one that a ``schema-change`` has.
    """

    kinds: Sequence[str]
    schema_id: int
    other: tuple[Schema, int]


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
    report: Callable[[int, int], None] | None = None,
    faults: Faults | None = None,
) -> list[Path]:
    """Write one Avro container file a visit, one alert a block; return the files in time order.

    With ``faults`` the files hold whole messages, as plain ``bytes``, and ``MANIFEST`` beside
    them says which of them are the faults.

    :param schema: the Avro schema of the version that ``options.schema`` names.
    :param report: called with the visit's index and how many of its alerts are made.
    :raises UsageError: an option is out of bounds.
    :raises SchemaError: the schema asks for what no simulated alert has.
    :raises DataError: a file cannot be written.
    """
    checked = _checked(options, schema)
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        visits, manifest = range(options.visits), options.folder / MANIFEST
        if faults is None:
            manifest.unlink(missing_ok=True)
            return [_write_visit(options, checked, index, report) for index in visits]
        made = [_write_messages(options, checked, index, report, faults) for index in visits]
        lines = [json.dumps(asdict(fault)) + "\n" for _, found in made for fault in found]
        manifest.write_text("".join(lines), encoding="utf-8")
        return [path for path, _ in made]
    except OSError as error:
        raise DataError(
            f"cannot be written: {error.strerror}", where=str(options.folder)
        ) from error


def visit_alerts(
    options: SimulateOptions, schema: Schema, index: int, others: Mapping[int, Schema] | None = None
) -> Iterator[Values]:
    """Yield the alerts of the visit ``index`` (from 0), each a record of ``schema``.

    :param others: which alerts (from 0) are records of another schema.
    :raises UsageError: an option is out of bounds.
    :raises SchemaError: the schema asks for what no simulated alert has.
    """
    forms = Forms(_checked(options, schema))
    other_forms = {number: Forms(parsed(other)) for number, other in (others or {}).items()}
    rng = Random(f"{options.seed}/{index}")
    field = Field.drawn(rng, _start(options) + index * SLOT, options.history[1])
    noise = Noise.drawn(rng, field.visit, options.cutout_size)
    least, most = options.history
    for number in range(options.alerts):
        # Most objects are new or nearly so; few have been seen all year.
        earlier = least + int((most - least + 1) * rng.random() ** 3)
        thing, place = Object.drawn(rng, field, earlier), field.place(rng)
        images = noise.images(rng)
        measured = images.draw(rng, field.visit, thing)
        cutouts = images.fits(fits_header(field.visit, place, measured, options.cutout_size))
        story = Story(rng, field, thing, place, measured.template, index << 17 | number)
        yield story.alert(other_forms.get(number, forms), earlier, measured.difference, cutouts)


def _checked(options: SimulateOptions, schema: Schema) -> Schema:
    least, most = options.history
    bounds = (
        ("visits", options.visits, 1, 4096),
        ("alerts", options.alerts, 1, 131_072),
        ("cutout size", options.cutout_size, 15, 999),
        ("longest history", most, 0, 1000),
        ("shortest history", least, 0, most),
        ("year of the start", _start(options).year, 2014, 2050),
    )
    for name, value, low, high in bounds:
        if not low <= value <= high:
            raise UsageError(f"the {name} is {value}", todo=f"give {low} to {high}")
    return parsed(schema)


def _start(options: SimulateOptions) -> datetime:
    start = options.start or NIGHT
    return start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)


def _write_visit(
    options: SimulateOptions,
    schema: Schema,
    index: int,
    report: Callable[[int, int], None] | None,
) -> Path:
    alerts = _reported(visit_alerts(options, schema, index), index, report)
    return _write_file(options, index, schema, alerts)


def _reported(
    records: Iterable[Any], index: int, report: Callable[[int, int], None] | None
) -> Iterator[Any]:
    for done, record in enumerate(records, start=1):
        yield record
        if report:
            report(index, done)


def _write_file(
    options: SimulateOptions, index: int, schema: Schema | str, records: Iterable[Any]
) -> Path:
    path = options.folder / f"visit-{_visit_number(options, index)}.avro"
    part = path.with_name(f".{path.name}.part")
    marker = Random(f"{options.seed}/{index}/marker").randbytes(16)
    try:
        with part.open("wb") as file:
            writer(file, schema, records, sync_interval=1, sync_marker=marker)
        return part.replace(path)
    except (LookupError, ValueError, TypeError) as error:
        raise SchemaError(f"cannot hold a simulated alert: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _visit_number(options: SimulateOptions, index: int) -> int:
    return visit_id(_start(options) + index * SLOT)[0]


def _write_messages(
    options: SimulateOptions,
    schema: Schema,
    index: int,
    report: Callable[[int, int], None] | None,
    faults: Faults,
) -> tuple[Path, list[Fault]]:
    """Write a visit's messages; return the file, and which of them are faults."""
    if len(faults.kinds) > options.alerts:
        raise UsageError(
            f"{options.alerts} alerts have no room for {len(faults.kinds)} faults",
            todo="give more --alerts",
        )
    rng = Random(f"{options.seed}/{index}/faults")
    places = rng.sample(range(options.alerts), len(faults.kinds))
    kinds = dict(zip(places, faults.kinds, strict=True))
    alerts = _reported(_visit_messages(options, schema, index, faults, kinds), index, report)
    made: list[str | None] = []

    def messages() -> Iterator[bytes]:
        for number, message in enumerate(alerts):
            kind = kinds.get(number)
            if kind == "duplicate":
                made.append(None)
                yield message
            made.append(kind)
            yield _spoilt(message, kind, rng) if kind in UNDECODABLE else message

    path = _write_file(options, index, "bytes", messages())
    visit = _visit_number(options, index)
    return path, [
        Fault(path.name, visit, number, kind, decodable=kind not in UNDECODABLE)
        for number, kind in enumerate(made)
        if kind
    ]


def _visit_messages(
    options: SimulateOptions,
    schema: Schema,
    index: int,
    faults: Faults,
    kinds: Mapping[int, str],
) -> Iterator[bytes]:
    """Yield the messages of a visit, all of them decodable."""
    other, other_id = faults.other
    others = {number: other for number, kind in kinds.items() if kind == "schema-change"}
    for number, alert in enumerate(visit_alerts(options, schema, index, others)):
        if kinds.get(number) == "oversize":
            alert["cutoutTemplate"] += bytes(OVERSIZE)
        body = BytesIO()
        schemaless_writer(body, others.get(number, schema), alert)
        yield pack(other_id if number in others else faults.schema_id, body.getvalue())


def _spoilt(message: bytes, kind: str | None, rng: Random) -> bytes:
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
        case _:
            return b""
