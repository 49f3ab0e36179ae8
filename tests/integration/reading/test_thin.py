"""``--without``: alerts with null for some fields, in the same schema, from filter and print."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from tests.support import raw_kafka
from tests.support.commands import one_error, run, send_visits
from tests.support.samples import official_schema
from tests.support.ztf import ztf_alert

from alertstream.avro.schemas import Schemas

CUTOUTS = ("cutoutDifference", "cutoutScience", "cutoutTemplate")
SCHEMA = Schemas().by_id(1000)


def decoded(value: bytes) -> Any:
    return fastavro.schemaless_reader(BytesIO(value[5:]), SCHEMA, None)


def as_it_was(alert: dict[str, Any], *names: str) -> Callable[[dict[str, Any]], bool]:
    # NaN is not equal to itself.
    return lambda thin: repr(thin) == repr(alert | dict.fromkeys(names))


@pytest.fixture
def stream(kafka: str, topic: str, visits: Path) -> str:
    send_visits(kafka, topic, sorted(visits.iterdir())[0], partitions=1)
    return topic


def test_filtered_alerts_without_cutouts(kafka: str, stream: str) -> None:
    which = ("--where", "diaSource.snr > 20", "--output", f"{stream}-thin", "--cap", 0)
    ended = run("filter", kafka, stream, *which, "--without", "cutouts", "--exit-on-eof")
    assert (ended.status, "stay whole" in ended.err) == (0, False), ended.err
    source = {each.offset: each.value for each in raw_kafka.read(kafka, stream)}
    thin = raw_kafka.read(kafka, f"{stream}-thin")
    bright = [value for value in source.values() if (decoded(value)["diaSource"]["snr"] or 0) > 20]
    assert 0 < len(thin) == len(bright) < len(source)
    for each, value in zip(thin, bright, strict=True):
        assert each.value[:5] == value[:5]
        assert as_it_was(decoded(value), *CUTOUTS)(decoded(each.value))
        assert dict(each.headers)["alertstream.without"].decode().split(",") == [*CUTOUTS]
    assert sum(len(each.value) for each in thin) < 0.9 * sum(map(len, bright))


def test_printed_and_saved_without_history(kafka: str, stream: str, tmp_path: Path) -> None:
    saved, without = tmp_path / "night.avro", "prvDiaSources, prvDiaForcedSources"
    how = ("--without", without, "--save", saved, "--format", "json", "--exit-on-eof")
    ended = run("print", kafka, stream, *how)
    assert ended.status == 0, ended.err
    for each in ended.objects:
        assert each["alert"]["prvDiaSources"] is each["alert"]["prvDiaForcedSources"] is None
        assert each["alert"]["cutoutScience"].startswith("<")
    source = [decoded(each.value) for each in raw_kafka.read(kafka, stream)]
    with saved.open("rb") as file:
        kept = list(fastavro.reader(file))
    assert len(kept) == len(ended.objects) == len(source)
    names = without.split(", ")
    assert all(as_it_was(alert, *names)(thin) for alert, thin in zip(source, kept, strict=True))


def test_alerts_in_containers(kafka: str, topic: str) -> None:
    _, message = ztf_alert(Science="s", Template="t", Difference="d")
    (alert,) = fastavro.reader(BytesIO(message))
    raw_kafka.make(kafka, topic)
    raw_kafka.write(kafka, topic, [message, b"\0\0\0\x03\xe8garbage"])
    how = ("--without", "cutouts", "--output", f"{topic}-all", "--where", "candidate.candid > 0")
    ended = run("filter", kafka, topic, *how, "--exit-on-eof")
    assert ended.status == 3, ended.err
    (thin,) = raw_kafka.read(kafka, f"{topic}-all")
    assert list(fastavro.reader(BytesIO(thin.value))) == [alert | dict.fromkeys(CUTOUTS)]
    (undecodable,) = raw_kafka.read(kafka, f"{topic}-undecodable")
    assert undecodable.value == b"\0\0\0\x03\xe8garbage"


@pytest.mark.parametrize("names", ["diaSource", "cutouts,prvDiaSource", ",", "cutouts,"])
def test_fields_that_cannot_be_null(names: str) -> None:
    nullable = [
        field["name"] for field in official_schema("11.1")["fields"] if "null" in field["type"]
    ]
    for command in (("filter", "localhost:1", "alerts", "1"), ("print", "localhost:1", "alerts")):
        ended = run(*command, "--without", names)
        one_error(ended, "that can be null · --without", "cutouts, or any of", status=2)
        assert nullable[0] in ended.err
