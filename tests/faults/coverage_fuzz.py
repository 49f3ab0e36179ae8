"""Coverage-guided fuzzing: what comes from outside is taken or refused with our own error, in time.

pip install atheris; python -m tests.faults.coverage_fuzz decoder --minutes 10
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["alertstream"]):
    from tests.support.fuzzing import MESSAGES
    from tests.support.images import fits_file, header
    from tests.support.samples import official_schema, sample_alert, write_container

    from alertstream.alert.alert import Alert
    from alertstream.alert.stamps import read_stamp
    from alertstream.avro.container.file import ContainerFile
    from alertstream.avro.schemas import Schemas
    from alertstream.errors import AlertStreamError
    from alertstream.filtering.expression import WhereFilter
    from alertstream.reading.decoder import AlertDecoder

DECODERS = [AlertDecoder(Schemas(), paths) for paths in (None, {"diaSource.snr"})]
ALERT = Alert({"diaSource": {"snr": 5.5, "band": "r", "visit": 7}})
FILE = Path(tempfile.mkdtemp()) / "fuzzed.avro"


def decode(data: bytes) -> None:
    for decoder in DECODERS:
        decoder.fields_of(data)


def read_file(data: bytes) -> None:
    FILE.write_bytes(data)
    with ContainerFile(FILE) as container:
        for _ in container:
            pass


def where(data: bytes) -> None:
    WhereFilter(data.decode(errors="replace"), "x").passes(ALERT)


EXPRESSIONS = (
    "diaSource.snr > 5 and not band in ('g', 'r')",
    "abs(diaSource.snr - 3) / 2 < min(1, 2.5) or len(prvDiaSources) == 0",
    "cone(150.1, 2.2, '30 arcsec') and -90 < galactic_latitude <= 90",
    "diaSource.band is not None and max(snr, 7) != [1, None]",
)


def expressions() -> Iterator[bytes]:
    yield from (each.encode() for each in EXPRESSIONS)


def files() -> Iterator[bytes]:
    for codec in ("null", "deflate", "snappy"):
        write_container(FILE, official_schema("10.0"), [sample_alert("10.0")] * 2, codec=codec)
        yield FILE.read_bytes()
    schema = {"type": "record", "name": "a", "fields": [{"name": "n", "type": "long"}]}
    write_container(FILE, schema, [{"n": 5}, {"n": 6}])
    yield FILE.read_bytes()


def pictures() -> Iterator[bytes]:
    for kind in ("float32", "int16", "uint8"):
        made = fits_file(np.arange(64, dtype=kind).reshape(8, 8), CRVAL1=10.0, CTYPE1="RA---TAN")
        yield made
        yield gzip.compress(made)
    yield header(BSCALE=2.0, CD1_1=0.1)


TARGETS: dict[str, tuple[Callable[[bytes], object], Callable[[], Iterable[bytes]]]] = {
    "decoder": (decode, lambda: MESSAGES),
    "container": (read_file, files),
    "where": (where, expressions),
    "picture": (read_stamp, pictures),
}
"""What each does with bytes, and what to begin with."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=10)
    given = parser.parse_args()
    target, seeds = TARGETS[given.target]
    folder = Path(tempfile.mkdtemp())
    for number, seed in enumerate(seeds()):
        (folder / str(number)).write_bytes(seed)

    def once(data: bytes) -> None:
        with suppress(AlertStreamError):
            target(data)

    limits = [f"-max_total_time={60 * given.minutes:.0f}", "-timeout=2", "-rss_limit_mb=1000"]
    atheris.Setup([sys.argv[0], *limits, "-max_len=65536", str(folder)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
