"""The alerts of a simulated visit: one pointing of the 189 detectors, and what changed there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import numpy as np

from alertstream.avro.schemas import Schema, parsed
from alertstream.errors import UsageError
from alertstream.local.simulate.alert import History
from alertstream.local.simulate.cutouts import Cutouts, Noise, fits_header
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
