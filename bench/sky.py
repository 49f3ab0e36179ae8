"""The cost of where on the sky: loading targets, an alert's position, and the engine's rate.

``python -m bench.sky 10000000`` loads as many targets, and nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import cdshealpix
import fastavro
import mocpy
import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
from astropy import units
from astropy.coordinates import Angle, Latitude, Longitude, angular_separation
from astropy.io import fits

from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import pack
from alertstream.filtering.caps import VisitCaps
from alertstream.filtering.engine import FilterEngine
from alertstream.filtering.expression import WhereFilter
from alertstream.filtering.pipeline import alert_decoder
from alertstream.kafka.messages import Message
from alertstream.local.simulate.files import SimulateOptions, visit_alerts
from alertstream.sky import Moc, Region, SkyMap, Watchlist

TARGETS = 1_000_000
ALERTS = 1_000
POSITIONS = 20_000
ROUNDS = 9
SCHEMA_ID = 1000
_ECSV = b"""# %ECSV 1.0
# ---
# datatype:
# - {name: name, datatype: string}
# - {name: ra, unit: deg, datatype: float64}
# - {name: dec, unit: deg, datatype: float64}
"""
_LOAD = """
import json, sys, time
from pathlib import Path
from alertstream.sky import Watchlist
import alertstream.sky.index, alertstream.sky.tables, astropy.io.fits

def memory(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1000

before, begin = memory("VmRSS"), time.perf_counter()
targets = Watchlist(sys.argv[1], "2 arcsec")
seconds = time.perf_counter() - begin
print(json.dumps({"seconds": seconds, "kept": memory("VmRSS") - before,
                  "peak": memory("VmHWM") - before}))
"""


def measure(folder: Path) -> dict[str, Any]:
    """Print and return seconds and MB of loading, µs of a position, and rates of the engine."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = _targets(folder, TARGETS)
    figures: dict[str, Any] = {"load": _loads(tables, TARGETS)}
    alerts = _alerts()
    ra, dec = (alerts[0]["diaSource"][name] for name in ("ra", "dec"))
    there, elsewhere = _sky_map(folder, ra, dec), _sky_map(folder, ra + 180, -dec)
    moc = _moc(folder)
    regions = {
        "watchlist": Watchlist(tables[0], "2 arcsec"),
        "MOC of order 10": Moc(moc),
        "sky map": SkyMap(there, 0.9),
    }
    figures["position"] = {name: _microseconds(each) for name, each in regions.items()}
    for name, cost in figures["position"].items():
        print(f"{name:16} {cost:8.2f} µs for a position")
    expressions = {
        "watchlist": f"watchlist('{tables[0]}', '2 arcsec')",
        "MOC of order 10": f"moc('{moc}')",
        "sky map": f"skymap('{elsewhere}', 0.9)",
        "sky map, all in": f"skymap('{there}', 0.9)",
        "cone": "cone(150.1, 2.2, '30 arcsec')",
        "latitude": "abs(galactic_latitude) > 10",
    }
    figures["engine"] = _rates({"snr": "snr > 5", **expressions}, alerts)
    for name, rate in figures["engine"].items():
        ratio = rate / figures["engine"]["snr"]
        print(f"{name:16} {rate:8,.0f} alerts/s, decoded and judged: {ratio:.2f}")
    return figures


def _loads(tables: Sequence[Path], targets: int) -> dict[str, Any]:
    found = {each.name: _loaded(each) for each in tables}
    print(f"\nsky: {targets:,} targets\n{'':16} {'seconds':>8} {'MB':>6} {'at most':>8}")
    for name, each in found.items():
        print(f"{name:16} {each['seconds']:8.1f} {each['kept']:6.0f} {each['peak']:8.0f}")
    return found


def _random_positions(count: int) -> tuple[Any, Any]:
    random = np.random.default_rng(1)
    return random.uniform(0, 360, count), np.degrees(np.arcsin(random.uniform(-1, 1, count)))


def _targets(folder: Path, count: int) -> list[Path]:
    ra, dec = _random_positions(count)
    names = [f"target {number:07}" for number in range(count)]
    table = pyarrow.table({"name": names, "ra": ra, "dec": dec})
    pyarrow.parquet.write_table(table, folder / "targets.parquet")
    pyarrow.csv.write_csv(table, folder / "targets.csv")
    with (folder / "targets.ecsv").open("wb") as ecsv:
        ecsv.write(_ECSV)
        pyarrow.csv.write_csv(table, ecsv, pyarrow.csv.WriteOptions(delimiter=" "))
    columns = [
        fits.Column("name", "14A", array=np.array(names)),
        *(fits.Column(name, "D", array=each) for name, each in (("ra", ra), ("dec", dec))),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(folder / "targets.fits", overwrite=True)
    return [folder / f"targets.{form}" for form in ("parquet", "csv", "ecsv", "fits")]


def _loaded(path: Path) -> dict[str, float]:
    run = subprocess.run(
        [sys.executable, "-c", _LOAD, str(path)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(run.stdout)
    return found


def _moc(folder: Path) -> Path:
    """Write a MOC of many small pieces, a third of the sky."""
    ra, dec = _random_positions(3_000)
    cones = mocpy.MOC.from_cones(
        lon=Longitude(ra * units.deg),
        lat=Latitude(dec * units.deg),
        radius=Angle("1.2 deg"),
        max_depth=10,
        union_strategy="large_cones",
    )
    cones.save(folder / "region.fits", "fits", overwrite=True)
    return folder / "region.fits"


def _sky_map(folder: Path, ra: float, dec: float) -> Path:
    """Write a flat map of 786,432 pixels around a position, 90 % of it in 1,500 square degrees."""
    longitude, latitude = cdshealpix.healpix_to_lonlat(np.arange(12 * 4**8), 8)
    apart = angular_separation(np.radians(ra), np.radians(dec), longitude.rad, latitude.rad)
    columns = [fits.Column("PROB", "D", array=np.exp(-((np.degrees(apart) / 14.4) ** 2)))]
    table = fits.BinTableHDU.from_columns(columns)
    table.header["ORDERING"] = "NESTED"
    path = folder / f"map{dec:+.0f}.fits"
    table.writeto(path, overwrite=True)
    return path


def _microseconds(region: Region) -> float:
    positions = [*zip(*(each.tolist() for each in _random_positions(POSITIONS)), strict=True)]
    return _best(lambda: [region.at(*each) for each in positions], 5) / POSITIONS * 1e6


def _best(work: Callable[[], Any], times: int) -> float:
    """Return the least seconds of this process's own that some work takes: others may be busy."""
    best = float("inf")
    for _ in range(times):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def _alerts() -> list[Any]:
    simulation = SimulateOptions(Path(), 1, ALERTS, history=(0, 24), cutout_size=31)
    return [*visit_alerts(simulation, Schemas().by_id(SCHEMA_ID), 0)]


def _rates(expressions: dict[str, str], alerts: list[Any]) -> dict[str, float]:
    """Return alerts per second of each expression, the median of rounds that take turns."""
    schemas = Schemas()
    schema = schemas.by_id(SCHEMA_ID)
    messages = []
    for offset, alert in enumerate(alerts):
        stream = BytesIO()
        fastavro.schemaless_writer(stream, schema, alert)
        messages.append(Message("alerts", 0, offset, 0, None, pack(SCHEMA_ID, stream.getvalue())))
    works = {name: _work(each, schemas, messages) for name, each in expressions.items()}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            seconds[name].append(_best(work, 1))
    return {name: ALERTS / median(each) for name, each in seconds.items()}


def _work(expression: str, schemas: Schemas, messages: list[Message]) -> Callable[[], None]:
    where = WhereFilter(expression, "passed")
    decoder = alert_decoder([where], schemas, lambda text: None)

    def work() -> None:
        caps = VisitCaps(["passed"], 0)
        engine = FilterEngine([where], caps)
        for judged in engine.judge(map(decoder.decode, messages)):
            caps.apply(judged.claims)
            engine.decide(judged)

    return work


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        _loads(_targets(Path(folder), int(sys.argv[1])), int(sys.argv[1]))
