"""Times of alerts moved in their bytes: all else stays as it was."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from tests.support.samples import (
    VERSIONS,
    body_of,
    official_schema,
    sample_alert,
    sample_file,
    write_container,
)

from alertstream.alert.alert import Alert
from alertstream.alert.surveys import survey_of
from alertstream.avro.schemas import parsed
from alertstream.errors import SchemaError, UsageError
from alertstream.sending.visits.moving import Mover, movers

NOW = 1_795_780_800.0


def decoded(schema: dict[str, Any], body: bytes) -> dict[str, Any]:
    alert: dict[str, Any] = fastavro.schemaless_reader(BytesIO(body), schema, None)
    return alert


@pytest.mark.parametrize("version", VERSIONS)
def test_the_shutter_closes_now(version: str) -> None:
    schema, body = parsed(official_schema(version)), body_of(sample_alert(version), version)
    moved = Mover(schema).to(body, NOW)
    assert len(moved) == len(body)
    survey = survey_of(schema)
    was, now = Alert(decoded(schema, body), survey), Alert(decoded(schema, moved), survey)
    assert now.shutter == pytest.approx(NOW, abs=1e-3)
    days = now.mjd - was.mjd
    source = dict(was["diaSource"])
    for name in ("midpointMjdTai", "midPointTai", "timeProcessedMjdTai"):
        # Not all samples are of a time that has been processed.
        if source.get(name) is not None:
            source[name] += days
            assert now["diaSource"][name] == pytest.approx(source[name], abs=1e-9)
            source[name] = now["diaSource"][name]
    # Compared as bytes: NaN is not equal to itself.
    assert body_of({**was, "diaSource": source}, version) == moved


def ztf(kind: Any, jd: float | None) -> tuple[dict[str, Any], bytes]:
    fields = [{"name": "pid", "type": "long"}, {"name": "jd", "type": kind}]
    candidate = {"type": "record", "name": "ztf.candidate", "fields": fields}
    schema = parsed(
        {
            "type": "record",
            "name": "ztf.alert",
            "fields": [
                {"name": "objectId", "type": "string"},
                {"name": "candidate", "type": candidate},
                {"name": "prv", "type": {"type": "array", "items": "ztf.candidate"}},
            ],
        }
    )  # fmt: skip
    earlier = [{"pid": 1, "jd": 2_460_000.0}]
    alert = {"objectId": "ZTF", "candidate": {"pid": 3, "jd": jd}, "prv": earlier}
    out = BytesIO()
    fastavro.schemaless_writer(out, schema, alert)
    return schema, out.getvalue()


@pytest.mark.parametrize("kind", ["double", ["null", "double"], ["double", "null"]])
def test_ztf(kind: Any) -> None:
    schema, body = ztf(kind, 2_460_736.7)
    moved = decoded(schema, Mover(schema).by(body, 86400))
    assert moved["candidate"] == {"pid": 3, "jd": 2_460_737.7}
    assert moved["prv"] == [{"pid": 1, "jd": 2_460_000.0}]
    assert Alert(
        decoded(schema, Mover(schema).to(body, NOW)), survey_of(schema)
    ).shutter == pytest.approx(NOW, abs=1e-3)


def test_what_has_no_time_stays() -> None:
    schema, body = ztf(["null", "double"], None)
    assert Mover(schema).to(body, NOW) == Mover(schema).by(body, 5) == body
    schema, body = ztf("double", 2_460_736.7)
    for damaged in (b"", body[:4], body[:10], b"\xff" * 40):
        assert Mover(schema).to(damaged, NOW) == Mover(schema).by(damaged, 5) == damaged
    with pytest.raises(SchemaError):
        Mover(ztf("long", 2_460_736)[0])


def test_files_whose_times_cannot_be_moved(tmp_path: Path) -> None:
    assert [*movers([sample_file("10.0")])] == [sample_file("10.0")]
    own = {"type": "record", "name": "mine.v1_0.alert", "fields": [{"name": "n", "type": "long"}]}
    path = write_container(tmp_path / "mine.avro", own, [{"n": 1}])
    with pytest.raises(UsageError, match="do not say when they were observed"):
        movers([path])
    path = write_container(tmp_path / "messages.avro", "bytes", [b"1"])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="it holds whole messages"):
        movers([path])
