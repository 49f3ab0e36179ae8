"""Coverage-guided fuzzing: what comes from outside is taken or refused with our own error, in time.

pip install atheris; python -m tests.faults.coverage_fuzz decoder --minutes 10
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["alertstream", "fastavro"]):
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


TARGETS: dict[str, Callable[[bytes], object]] = {
    "decoder": decode,
    "container": read_file,
    "where": where,
    "picture": read_stamp,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", default=tempfile.mkdtemp(), help="Folder to begin with.")
    given = parser.parse_args()

    def once(data: bytes) -> None:
        with suppress(AlertStreamError):
            TARGETS[given.target](data)

    limits = [f"-max_total_time={60 * given.minutes:.0f}", "-timeout=2", "-rss_limit_mb=1000"]
    atheris.Setup([sys.argv[0], *limits, "-max_len=65536", given.seeds], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
