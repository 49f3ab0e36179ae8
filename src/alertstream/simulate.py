"""Made-up LSST alerts as realistic as it takes to try out everything else.

One visit is one pointing of the 189 detectors; its alerts are variable stars, supernovae, flares,
moving objects and artefacts, each with its history and with three cutouts that show it. The same
options give the same bytes; positions and times are rounded so that the last digit, in which
mathematical libraries differ, does not show.
"""

from __future__ import annotations

import cmath
import json
import math
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, time, timedelta
from io import BytesIO
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from fastavro import schemaless_writer, writer

from alertstream.errors import DataError, SchemaError, UsageError
from alertstream.schemas import Schema, parsed
from alertstream.wire import HEADER_SIZE, pack

Values = dict[str, Any]
Patch = list[tuple[int, float]]

NIGHT = datetime(2026, 11, 25, 7, 4, tzinfo=UTC)
SLOT = timedelta(seconds=39)
PIXEL = 0.2 / 3600
DETECTORS = 189
AB_ZERO = 31.4

# Five-sigma depths of a visit from LSST's reference design (Ivezić et al. 2019, table 2).
DEPTHS = {"u": 23.9, "g": 25.0, "r": 24.7, "i": 24.0, "z": 23.3, "y": 22.1}
# Right ascension and declination of the pole, and the longitude of the celestial one, in degrees.
GALACTIC = (192.859, 27.128, 122.932)
ECLIPTIC = (270.0, 66.5607, 90.0)
KINDS = {"variable": 45, "supernova": 12, "flare": 8, "moving": 10, "artefact": 25}

UNDECODABLE = ("truncated", "trailing", "unknown-id", "no-header", "garbage", "empty")
FAULTS = (*UNDECODABLE, "oversize", "duplicate", "schema-change")
"""What breaks consumers: messages that nobody can decode, and alerts that only some expect."""
MANIFEST = "faults.jsonl"
UNKNOWN_ID = 999_999
OVERSIZE = 2 * 1024 * 1024
"""Bytes on top of an alert's own; Kafka's topics and clients take 1 MiB unless told otherwise."""

_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
_TAI = timedelta(seconds=37)
# A star of AB magnitude 20 leaves some 69,000 electrons in a visit of 30 s.
_ELECTRONS_PER_NJY = 1.9
_SPARE_NOISE = 50_000

# Names of versions before 8, and the name that means the same today.
_TODAY = {
    "alertId": "diaSourceId",
    "psFlux": "psfFlux",
    "psFluxErr": "psfFluxErr",
    "totFlux": "scienceFlux",
    "totFluxErr": "scienceFluxErr",
    "midPointTai": "midpointMjdTai",
    "radecTai": "lastDiaSourceMjdTai",
    "radecMjdTai": "lastDiaSourceMjdTai",
    "filterName": "band",
    "decl": "dec",
    "declErr": "decErr",
    "is_negative": "isNegative",
    "eclipticLambda": "eclLambda",
    "eclipticBeta": "eclBeta",
    "galacticL": "galLon",
    "galacticB": "galLat",
    "topocentricDist": "topoRange",
    "heliocentricDist": "helioRange",
}


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
    forms = _Forms(_checked(options, schema))
    other_forms = {number: _Forms(parsed(other)) for number, other in (others or {}).items()}
    rng = Random(f"{options.seed}/{index}")
    field = _Field.drawn(rng, options, index)
    noise = _Noise.drawn(rng, field.visit, options.cutout_size)
    least, most = options.history
    for number in range(options.alerts):
        # Most objects are new or nearly so; few have been seen all year.
        earlier = least + int((most - least + 1) * rng.random() ** 3)
        thing, place = _Object.drawn(rng, field, earlier), field.place(rng)
        triplet = noise.triplet(rng)
        measured = triplet.draw(rng, field.visit, thing)
        cutouts = triplet.fits(_header(field.visit, place, measured, options.cutout_size))
        story = _Story(rng, field, thing, place, measured.template, index << 17 | number)
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
    return _visit_id(_start(options) + index * SLOT)[0]


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


class _Forms:
    """The records of one schema version, filled by field name."""

    def __init__(self, schema: Schema) -> None:
        self._fields: dict[str, list[tuple[str, str, Any]]] = {}
        self._needed: dict[str, frozenset[str]] = {}
        self._collect(schema)
        if not self._fields.keys() >= {"alert", "diaSource"}:
            raise SchemaError("no schema of LSST alerts")

    def _collect(self, node: Any) -> None:
        if isinstance(node, list):
            for branch in node:
                self._collect(branch)
        elif isinstance(node, Mapping) and node["type"] == "array":
            self._collect(node["items"])
        elif isinstance(node, Mapping) and node["type"] == "record":
            record = node["name"].rpartition(".")[2]
            fields = [(field["name"], field["type"]) for field in node["fields"]]
            self._fields[record] = [
                (name, _TODAY.get(name, name), False if "boolean" in kind else None)
                for name, kind in fields
            ]
            self._needed[record] = frozenset(
                _TODAY.get(name, name) for name, kind in fields if "null" not in kind
            )
            for _, kind in fields:
                self._collect(kind)

    def fit(self, record: str, values: Values) -> Values | None:
        """Return ``values`` as this version's ``record``; None where it has no such record."""
        if record not in self._fields:
            return None
        if missing := self._needed[record] - values.keys():
            raise SchemaError(f"no simulated alert has {record}.{min(missing)}")
        return {name: values.get(today, gap) for name, today, gap in self._fields[record]}

    def unmeasured(self) -> float | None:
        """Return what stands for a value that could not be measured: null, before 6.0 NaN."""
        return math.nan if "snr" in self._needed.get("diaSource", ()) else None


@dataclass(frozen=True)
class _Visit:
    """One exposure: times in MJD (TAI), PSF sigma in pixels, sky noise of a PSF flux in nJy."""

    id: int
    slot: int
    mjd: float
    band: str
    sigma: float
    sky_error: float

    @classmethod
    def drawn(cls, rng: Random, when: datetime) -> _Visit:
        band = rng.choices("ugrizy", weights=(7, 9, 22, 22, 20, 20))[0]
        depth = DEPTHS[band] + rng.gauss(0, 0.15)
        number, slot = _visit_id(when)
        return cls(
            id=number,
            slot=slot,
            mjd=round((when - _EPOCH + _TAI) / timedelta(days=1), 9),
            band=band,
            sigma=rng.uniform(1.4, 2.2),
            sky_error=_flux(depth) / 5,
        )

    def source_id(self, detector: int, counter: int) -> int:
        """Return an id of 63 bits: 26 for the time, 8 for the detector, 29 for the counter."""
        return (self.slot << 8 | detector) << 29 | counter

    def error(self, flux: float) -> float:
        """Return one sigma of the PSF flux of a star of ``flux`` nJy, fitted with equal weights."""
        return math.sqrt(self.sky_error**2 + 4 / 3 * max(flux, 0) / _ELECTRONS_PER_NJY)


def _visit_id(when: datetime) -> tuple[int, int]:
    """Return the visit's id YYYYMMDDnnnnn, and the slots of 39 s in a number of 26 bits."""
    noon = datetime.combine((when - timedelta(hours=12)).date(), time(12), UTC)
    slot = (when - noon) // SLOT
    days = (noon - datetime(2010, 1, 1, 12, tzinfo=UTC)).days
    return int(f"{noon:%Y%m%d}{slot:05}"), days << 12 | slot


def _flux(magnitude: float) -> float:
    return float(10 ** (0.4 * (AB_ZERO - magnitude)))


@dataclass(frozen=True)
class _Place:
    """Where a source is: on the sky in degrees, on its detector in pixels."""

    ra: float
    dec: float
    detector: int
    x: float
    y: float
    angle: float


@dataclass(frozen=True)
class _Field:
    """A pointing: centre and angle in radians, the visit, earlier visits, how many are bright."""

    visit: _Visit
    earlier: Sequence[_Visit]
    ra: float
    dec: float
    angle: float
    bright: float

    @classmethod
    def drawn(cls, rng: Random, options: SimulateOptions, index: int) -> _Field:
        when = _start(options) + index * SLOT
        visit = _Visit.drawn(rng, when)
        # Telescopes look where it is high: near the meridian of Cerro Pachón, 70.75° west.
        sidereal = 280.46 + 360.985647 * (visit.mjd - 51544.5) - 70.75
        ra, dec = (sidereal + rng.uniform(-40, 40)) % 360, rng.uniform(-65, 2)
        latitude = _turned(ra, dec, *GALACTIC)[1]
        most = options.history[1] + options.history[1] // 4
        days = rng.sample(range(1, max(366, most + 1)), most)
        nights = [when - timedelta(days=day, hours=rng.uniform(-2, 2)) for day in days]
        return cls(
            visit=visit,
            earlier=[_Visit.drawn(rng, night) for night in sorted(nights)],
            ra=math.radians(ra),
            dec=math.radians(dec),
            angle=rng.uniform(0, math.tau),
            bright=0.09 + 0.5 * math.exp(-abs(latitude) / 5),
        )

    def place(self, rng: Random) -> _Place:
        """Return a place anywhere on the 21 rafts of 9 detectors, 3.5° across."""
        detector, x, y = rng.randrange(DETECTORS), rng.uniform(0, 4072), rng.uniform(0, 4000)
        raft, ccd = divmod(detector, 9)
        cell = [cell for cell in range(25) if cell not in (0, 4, 20, 24)][raft]
        centre = complex(cell % 5 * 3 + ccd % 3 - 7, cell // 5 * 3 + ccd // 3 - 7) * 4224
        tilt = (detector * 37 % 11 - 5) * 1e-3
        offset = centre + complex(x - 2036, y - 2000) * cmath.exp(1j * tilt)
        offset *= math.radians(PIXEL) * cmath.exp(1j * self.angle)
        east, north = -offset.real, offset.imag
        depth = math.cos(self.dec) - north * math.sin(self.dec)
        ra = self.ra + math.atan2(east, depth)
        height = math.sin(self.dec) + north * math.cos(self.dec)
        dec = math.atan2(height, math.hypot(east, depth))
        return _Place(
            ra=round(math.degrees(ra) % 360, 9),
            dec=round(math.degrees(dec), 9),
            detector=detector,
            x=x,
            y=y,
            angle=self.angle + tilt,
        )


def _turned(
    ra: float, dec: float, pole_ra: float, pole_dec: float, north: float
) -> tuple[float, float]:
    """Return longitude and latitude in the system whose pole is given, in degrees.

    :param north: the longitude that the celestial north pole has in it.
    """
    away, height, top = (math.radians(angle) for angle in (ra - pole_ra, dec, pole_dec))
    up = math.sin(height) * math.sin(top) + math.cos(height) * math.cos(top) * math.cos(away)
    along = math.sin(height) * math.cos(top) - math.cos(height) * math.sin(top) * math.cos(away)
    longitude = north - math.degrees(math.atan2(math.cos(height) * math.sin(away), along))
    return round(longitude % 360, 9), round(math.degrees(math.asin(up)), 9)


@dataclass(frozen=True)
class _Object:
    """What changed: true flux change now and flux in the template, nJy; motion, deg a day."""

    kind: str
    flux: float
    template: float
    curve: Callable[[float], float]
    motion: tuple[float, float]

    @classmethod
    def drawn(cls, rng: Random, field: _Field, earlier: int) -> _Object:
        visit = field.visit
        kind = rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
        size = visit.sky_error * min(3.8 * rng.paretovariate(1.3), 150)
        if kind != "supernova" and rng.random() < field.bright:
            size = _flux(rng.uniform(16.8, 20))
        fades = kind in ("variable", "artefact") and rng.random() < 0.35
        constant = {"supernova": 0.0, "moving": 0.0, "flare": 0.3, "artefact": 6.0}.get(kind, 2.5)
        since = field.earlier[-earlier].mjd - 1 if earlier else visit.mjd - 2
        return cls(
            kind=kind,
            flux=-size if fades else size,
            template=size * constant * rng.uniform(0.6, 1.6),
            curve=_light_curve(rng, kind, visit.mjd, since),
            motion=(rng.uniform(-0.3, 0.3), rng.uniform(-0.03, 0.03))
            if kind == "moving"
            else (0, 0),
        )


def _light_curve(rng: Random, kind: str, now: float, since: float) -> Callable[[float], float]:
    """Return the flux change at a time (MJD) in units of that ``now``; a supernova is 0 before."""
    turn = math.tau / 10 ** rng.uniform(-0.5, 2)
    phase = rng.uniform(0.15, 0.85) * math.pi
    rise = rng.uniform(12, 30)

    def shape(when: float) -> float:
        wave = math.sin(turn * (when - now) + phase)
        if kind == "supernova":
            age = max(when - since, 0) / rise
            return age / (1 + age * age)
        if kind == "flare":
            return (0.5 + 0.5 * wave) ** 6 + 0.02
        return wave if kind == "variable" else 1 + 0.25 * wave

    scale = shape(now)
    return lambda when: shape(when) / scale


@dataclass(frozen=True)
class _Noise:
    """Long strips of pixels with nothing but noise in them, nJy; difference = science - template.

    Every cutout starts as a piece of them: drawing fresh noise would take ten times as long.
    """

    template: array[float]
    science: array[float]
    difference: array[float]
    size: int

    @classmethod
    def drawn(cls, rng: Random, visit: _Visit, size: int) -> _Noise:
        # Sky noise of a PSF flux = noise of a pixel * sqrt(effective area of 4 pi sigma^2).
        pixel = visit.sky_error / math.sqrt(4 * math.pi * visit.sigma**2)
        length = size * size + _SPARE_NOISE
        template = array("f", (rng.gauss(0, pixel * 5 / 13) for _ in range(length)))
        science = array("f", (rng.gauss(0, pixel * 12 / 13) for _ in range(length)))
        difference = array("f", map(float.__sub__, science, template))
        return cls(template, science, difference, size)

    def triplet(self, rng: Random) -> _Triplet:
        first = rng.randrange(_SPARE_NOISE)
        cut = slice(first, first + self.size * self.size)
        return _Triplet(self.template[cut], self.science[cut], self.difference[cut], self.size)


@dataclass(frozen=True)
class _Triplet:
    """The three cutouts' pixels in nJy, row by row from the bottom."""

    template: array[float]
    science: array[float]
    difference: array[float]
    size: int

    def draw(self, rng: Random, visit: _Visit, thing: _Object) -> _Measured:
        """Draw the object at the middle, what else is there, and measure what can be seen."""
        x, y = (0.5 * (self.size - 1) + rng.uniform(-0.5, 0.5) for _ in "xy")
        star = self._blob(x, y, visit.sigma)
        for _ in range(rng.randrange(4)):
            left, below = rng.uniform(0, self.size - 1), rng.uniform(0, self.size - 1)
            flux = 10 * visit.sky_error * rng.paretovariate(1)
            self._draw_constant(flux, left, below, visit.sigma)
        if thing.kind == "supernova":
            host = thing.flux * rng.uniform(2, 15)
            self._draw_constant(host, x + rng.gauss(0, 3), y + rng.gauss(0, 3), 2 * visit.sigma)
        self._draw_star(rng, thing, star, self._reference(rng, thing, star, (x, y), visit.sigma))
        area = sum(weight * weight for _, weight in star)
        fluxes = (
            sum(image[index] * weight for index, weight in star) / area
            for image in (self.difference, self.science, self.template)
        )
        return _Measured(x, y, *fluxes)

    def _reference(
        self, rng: Random, thing: _Object, star: Patch, place: tuple[float, float], sigma: float
    ) -> Patch:
        """Return the object as the template has it: an artefact's star is misplaced there."""
        if thing.kind != "artefact":
            return star
        shift = cmath.rect(rng.uniform(0.4, 1.2), rng.uniform(0, math.tau))
        return self._blob(place[0] + shift.real, place[1] + shift.imag, sigma)

    def _draw_star(self, rng: Random, thing: _Object, star: Patch, reference: Patch) -> None:
        total = max(thing.template + thing.flux, 0)
        for index, weight in star:
            light = total * weight
            light += math.sqrt(light / _ELECTRONS_PER_NJY) * rng.gauss(0, 1)
            self.science[index] += light
            self.difference[index] += light
        for index, weight in reference:
            self.template[index] += thing.template * weight
            self.difference[index] -= thing.template * weight

    def _draw_constant(self, flux: float, x: float, y: float, sigma: float) -> None:
        for index, weight in self._blob(x, y, sigma):
            self.science[index] += flux * weight
            self.template[index] += flux * weight

    def _blob(self, x: float, y: float, sigma: float) -> Patch:
        """Return the pixels of a round Gaussian of unit flux, and the share of each."""
        columns, rows = self._profile(x, sigma), self._profile(y, sigma)
        return [(row * self.size + column, b * a) for row, b in rows for column, a in columns]

    def _profile(self, middle: float, sigma: float) -> list[tuple[int, float]]:
        reach = 4 * sigma
        first, last = max(math.ceil(middle - reach), 0), min(int(middle + reach), self.size - 1)
        norm = 1 / (sigma * math.sqrt(math.tau))
        return [
            (pixel, norm * math.exp(-0.5 * ((pixel - middle) / sigma) ** 2))
            for pixel in range(first, last + 1)
        ]

    def fits(self, header: bytes) -> Values:
        """Return the cutouts as FITS files under their names in an alert."""
        images = {"Difference": self.difference, "Science": self.science}
        images["Template"] = self.template
        return {f"cutout{name}": _fits(header, image) for name, image in images.items()}


@dataclass(frozen=True)
class _Measured:
    """The object's place in the cutouts, pixels from 0, and its PSF fluxes in them, nJy."""

    x: float
    y: float
    difference: float
    science: float
    template: float


def _fits(header: bytes, image: array[float]) -> bytes:
    pixels = array("f", image)
    if sys.byteorder == "little":
        pixels.byteswap()
    data = header + pixels.tobytes()
    return data + bytes(-len(data) % 2880)


def _header(visit: _Visit, place: _Place, measured: _Measured, size: int) -> bytes:
    """Return a FITS header (FITS standard 4.0) of one block, with a tangential projection."""
    cosine, sine = (PIXEL * part(place.angle) for part in (math.cos, math.sin))
    cards: dict[str, str | float] = {
        "SIMPLE": "T",
        "BITPIX": -32,
        "NAXIS": 2,
        "NAXIS1": size,
        "NAXIS2": size,
        "BUNIT": "'nJy     '",
        "RADESYS": "'ICRS    '",
        "CTYPE1": "'RA---TAN'",
        "CTYPE2": "'DEC--TAN'",
        "CUNIT1": "'deg     '",
        "CUNIT2": "'deg     '",
        "CRPIX1": measured.x + 1,
        "CRPIX2": measured.y + 1,
        "CRVAL1": place.ra,
        "CRVAL2": place.dec,
        "CD1_1": -cosine,
        "CD1_2": sine,
        "CD2_1": sine,
        "CD2_2": cosine,
        "VISIT": visit.id,
        "DETECTOR": place.detector,
        "FILTER": f"'{visit.band:8}'",
    }
    text = "".join(_card(key, value) for key, value in cards.items()) + f"{'END':80}"
    return f"{text:2880}".encode("ascii")


def _card(key: str, value: str | float) -> str:
    if isinstance(value, float):
        value = f"{value:.12G}"
    text = f"{value:20}" if isinstance(value, str) and value[0] == "'" else f"{value:>20}"
    return f"{key:8}= {text:70}"


@dataclass(frozen=True)
class _Story:
    """One alert's object through all visits: what is the same wherever it is measured."""

    rng: Random
    field: _Field
    thing: _Object
    place: _Place
    template: float
    counter: int

    def alert(self, forms: _Forms, earlier: int, flux: float, cutouts: Values) -> Values:
        """Return the alert of a flux change of ``flux`` nJy now, seen ``earlier`` times before."""
        visit = self.field.visit
        now = self._source(visit, self.place, flux)
        sources = [self._earlier_source(then) for then in self._seen(earlier)]
        first, moves = (sources or [now])[0], self.thing.kind == "moving"
        link = {"ssObjectId" if moves else "diaObjectId": first["diaSourceId"]}
        for source in (*sources, now):
            source |= link
        forced = [] if moves else self._forced(first)
        values: Values = {
            "diaSourceId": now["diaSourceId"],
            "observation_reason": f"pairs_{visit.band}",
            "target_name": "wide-fast-deep",
            "diaSource": forms.fit("diaSource", now | _blemish(self.rng, forms.unmeasured())),
            "prvDiaSources": [forms.fit("diaSource", source) for source in sources] or None,
            "prvDiaForcedSources": [forms.fit("diaForcedSource", f) for f in forced] or None,
            **cutouts,
        }
        if moves:
            orbiting = self._orbiting(now)
            for record in ("ssObject", "ssSource", "mpc_orbits", "MPCORB"):
                values[record] = forms.fit(record, orbiting)
        else:
            values["diaObject"] = forms.fit("diaObject", _summary([*sources, now], forced))
        return forms.fit("alert", values) or {}

    def _seen(self, count: int) -> list[_Visit]:
        """Return the ``count`` earlier visits in which the object stood out most, oldest first."""

        def dimness(visit: _Visit) -> float:
            return -abs(self.thing.curve(visit.mjd)) / visit.sky_error

        return sorted(sorted(self.field.earlier, key=dimness)[:count], key=lambda v: v.mjd)

    def _measured(self, visit: _Visit) -> float:
        true = self.thing.flux * self.thing.curve(visit.mjd)
        return true + visit.error(self.thing.template + true) * self.rng.gauss(0, 1)

    def _earlier_source(self, then: _Visit) -> Values:
        """Return the object as it was seen ``then``, on another detector: telescopes dither."""
        flux, days = self._measured(then), then.mjd - self.field.visit.mjd
        scatter = then.sigma * PIXEL / max(abs(flux) / then.sky_error, 3)
        east, north = (speed * days + self.rng.gauss(0, scatter) for speed in self.thing.motion)
        ra = round((self.place.ra + east / math.cos(math.radians(self.place.dec))) % 360, 9)
        elsewhere = self.field.place(self.rng)
        there = replace(elsewhere, ra=ra, dec=round(self.place.dec + north, 9))
        return self._source(then, there, flux)

    def _common(self, visit: _Visit, detector: int, flux: float) -> Values:
        """Return what sources and forced sources have in common."""
        error = visit.error(self.thing.template + flux)
        return {
            "visit": visit.id,
            "ccdVisitId": visit.id * 1000 + detector,
            "detector": detector,
            "band": visit.band,
            "midpointMjdTai": visit.mjd,
            "timeProcessedMjdTai": round(visit.mjd + 45 / 86400, 9),
            "time_processed": _microseconds(visit.mjd + 45 / 86400),
            "psfFlux": flux,
            "psfFluxErr": error,
            "scienceFlux": self.template + flux,
            "scienceFluxErr": error * 12 / 13,
            "programId": 1,
            "flags": 0,
        }

    def _forced(self, first: Values) -> list[Values]:
        """Return the forced fluxes of every earlier visit since the object was first seen."""
        forced = []
        for visit in self.field.earlier:
            if visit.mjd >= first["midpointMjdTai"]:
                detector = self.rng.randrange(DETECTORS)
                values = self._common(visit, detector, self._measured(visit))
                values["diaForcedSourceId"] = visit.source_id(detector, self.counter)
                values["diaObjectId"] = first["diaSourceId"]
                forced.append(values | {"ra": self.place.ra, "dec": self.place.dec})
        return forced

    def _source(self, visit: _Visit, place: _Place, flux: float) -> Values:
        """Return a diaSource under today's names, without the object it belongs to."""
        rng, artefact = self.rng, self.thing.kind == "artefact"
        error = visit.error(self.thing.template + flux)
        snr = abs(flux) / error
        blur, noise, doubt = visit.sigma / max(snr, 1), rng.gauss(0, 1), rng.betavariate(1.3, 9)
        moment, pixels = 0.04 * visit.sigma**2, int(50 * visit.sigma**2)
        errors = ("ra", "dec", "psfRa", "psfDec", "trailRa", "trailDec", "dipoleRa", "dipoleDec")
        return {
            **self._common(visit, place.detector, flux),
            "diaSourceId": visit.source_id(place.detector, self.counter),
            "exposureTime": 30.0,
            **dict.fromkeys(("ra", "psfRa", "trailRa", "dipoleRa"), place.ra),
            **dict.fromkeys(("dec", "psfDec", "trailDec", "dipoleDec"), place.dec),
            **dict.fromkeys([f"{name}Err" for name in errors], blur * PIXEL),
            **dict.fromkeys(("psfNdata", "trailNdata", "dipoleNdata"), pixels),
            **dict.fromkeys(("ixxPSF", "iyyPSF"), moment),
            **dict.fromkeys(("xErr", "yErr"), blur),
            "ra_dec_Cov": 0.05 * noise * (blur * PIXEL) ** 2,
            "x": place.x,
            "y": place.y,
            "snr": snr,
            "isNegative": flux < 0,
            "psfLnL": -0.5 * pixels,
            "psfChi2": pixels + math.sqrt(2 * pixels) * noise,
            "apFlux": flux + 1.6 * error * noise,
            "apFluxErr": 1.9 * error,
            "trailFlux": flux + 0.3 * error * noise,
            "trailFluxErr": 1.1 * error,
            "trailLength": 0.2 * blur * abs(noise),
            "trailLengthErr": 0.2 * blur,
            "trailAngle": rng.uniform(-180, 180),
            "trailAngleErr": 60.0,
            "trailChi2": pixels - 3.0,
            "trailAlgorithm": 1,
            "dipoleMeanFlux": self.thing.template if artefact else abs(flux) / 2,
            "dipoleMeanFluxErr": error,
            "dipoleFluxDiff": flux,
            "dipoleFluxDiffErr": 1.4 * error,
            "dipoleLength": 0.2 if artefact else 0.2 * blur,
            "dipoleAngle": rng.uniform(0, 360),
            "dipoleChi2": pixels - 5.0 + noise,
            "isDipole": artefact,
            "dipoleFitAttempted": True,
            "templateFlux": self.template,
            "templateFluxErr": error * 5 / 13,
            "ixx": moment * (1 + 0.03 * noise),
            "iyy": moment * (1 - 0.03 * noise),
            "ixy": moment * 0.02 * noise,
            "ixyPSF": 0.0,
            "extendedness": rng.betavariate(1, 8),
            "reliability": doubt if artefact else 1 - doubt,
            "reliabilityVersion": "simulated",
            "bboxSize": int(8 * visit.sigma) + 2 * int(math.log1p(snr)),
        }

    def _orbiting(self, source: Values) -> Values:
        """Return what an alert says of a moving object: an asteroid of the main belt."""
        rng, ra, dec = self.rng, self.place.ra, self.place.dec
        letter, cycle = rng.choice("ABCDEFGHJKLMNOPQRSTUVWXYZ"), rng.randrange(10, 100)
        packed, designation = f"K14Q{cycle}{letter}", f"2014 Q{letter}{cycle}"
        ecliptic, galactic = _turned(ra, dec, *ECLIPTIC), _turned(ra, dec, *GALACTIC)
        # The mean sun is within 2 degrees of the true one.
        away = ecliptic[0] - 280.46 - 0.9856474 * (source["midpointMjdTai"] - 51544.5)
        cosine = math.cos(math.radians(ecliptic[1])) * math.cos(math.radians(away))
        near, axis, eccentricity = rng.uniform(1.2, 2.5), rng.uniform(2.1, 3.3), rng.random() / 4
        far = math.sqrt(1 + near * near - 2 * near * cosine)
        phase = math.acos((near - cosine) / far)
        magnitude = AB_ZERO - 2.5 * math.log10(self.thing.flux)
        east, north = self.thing.motion
        return {
            "ssObjectId": source["ssObjectId"],
            "diaSourceId": source["diaSourceId"],
            "flags": 0,
            "id": self.counter % 2**31,
            "designation": designation,
            "unpacked_primary_provisional_designation": designation,
            "packed_primary_provisional_designation": packed,
            "mpcDesignation": packed,
            "eclLambda": ecliptic[0],
            "eclBeta": ecliptic[1],
            "galLon": galactic[0],
            "galLat": galactic[1],
            "topoRange": near,
            "helioRange": far,
            "elongation": math.degrees(math.acos(cosine)),
            "phaseAngle": math.degrees(phase),
            "ephRa": ra,
            "ephDec": dec,
            "ephOffset": 0.0,
            "ephRateRa": east,
            "ephRateDec": north,
            "ephRate": math.hypot(east, north),
            "ephVmag": magnitude,
            "diaDistanceRank": 1,
            "a": axis,
            "e": eccentricity,
            "q": axis * (1 - eccentricity),
            "i": rng.uniform(0, 20),
            "node": rng.uniform(0, 360),
            "argperi": rng.uniform(0, 360),
            "mean_anomaly": rng.uniform(0, 360),
            "epoch_mjd": 61000.0,
            "h": magnitude - 5 * math.log10(near * far),
        }


def _microseconds(mjd: float) -> int:
    """Return a time in MJD (TAI) as microseconds since 1970 (UTC)."""
    return round((mjd - 40587) * 86400 - _TAI.total_seconds()) * 1_000_000


def _blemish(rng: Random, unmeasured: float | None) -> Values:
    """Return what a few measurements in a hundred lack, as in real streams."""
    nothing: Values = {}
    no_flux = {"psfFlux": math.nan, "psfFluxErr": math.nan, "psfFlux_flag": True}
    neither = {"psfFlux": unmeasured, "psfFluxErr": unmeasured, "snr": unmeasured}
    choices = (nothing, no_flux, {"snr": unmeasured}, neither)
    return rng.choices(choices, weights=(97, 1, 1, 1))[0]


def _summary(sources: Sequence[Values], forced: Sequence[Values]) -> Values:
    """Return the diaObject that its sources, oldest first, and forced fluxes make up."""
    first, last = sources[0], sources[-1]
    values: Values = {
        "diaObjectId": first["diaSourceId"],
        "ra": last["ra"],
        "dec": last["dec"],
        "raErr": last["raErr"] / math.sqrt(len(sources)),
        "decErr": last["decErr"] / math.sqrt(len(sources)),
        "ra_dec_Cov": 0.0,
        "flags": 0,
        "nDiaSources": len(sources),
        "firstDiaSourceMjdTai": first["midpointMjdTai"],
        "lastDiaSourceMjdTai": last["midpointMjdTai"],
        "validityStartMjdTai": last["timeProcessedMjdTai"],
        "validityStart": last["time_processed"],
    }
    for band in DEPTHS:
        seen = [source for source in sources if source["band"] == band]
        values |= _statistics(f"{band}_psfFlux", seen, "psfFlux")
        values |= _extremes(f"{band}_psfFlux", seen)
        there = [flux for flux in forced if flux["band"] == band]
        values |= _statistics(f"{band}_fpFlux", there, "psfFlux")
        values |= _statistics(f"{band}_scienceFlux", there, "scienceFlux")
    return values


def _statistics(name: str, measurements: Sequence[Values], flux: str) -> Values:
    count = len(measurements)
    if not count:
        return {f"{name}Ndata": 0}
    mean = fmean(values[flux] for values in measurements)
    error = fmean(values[f"{flux}Err"] for values in measurements)
    squares = math.fsum((values[flux] - mean) ** 2 for values in measurements)
    return {
        f"{name}Ndata": count,
        f"{name}Mean": mean,
        f"{name}MeanErr": error / math.sqrt(count),
        f"{name}ErrMean": error,
        f"{name}Sigma": math.sqrt(squares / (count - 1)) if count > 1 else None,
    }


def _extremes(name: str, sources: Sequence[Values]) -> Values:
    if len(sources) < 2:
        return {}
    fluxes = [source["psfFlux"] for source in sources]
    times = [source["midpointMjdTai"] for source in sources]
    steps = zip(fluxes, fluxes[1:], times, times[1:], strict=False)
    slope = max((after - before) / (end - start) for before, after, start, end in steps)
    return {f"{name}Min": min(fluxes), f"{name}Max": max(fluxes), f"{name}MaxSlope": slope}
