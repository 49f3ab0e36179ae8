"""Alerts with null for some fields: all others keep their bytes, in the same schema."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro
import pytest
from tests.support.samples import VERSIONS, body_of, official_schema, sample_alert

from alertstream.avro.schemas import parsed
from alertstream.avro.thinning import Thinner, nullable_fields
from alertstream.errors import UndecodableError

FITS = b"SIMPLE  = " + bytes(300)
CUTOUTS = ("cutoutDifference", "cutoutScience", "cutoutTemplate")


def decoded(schema: dict[str, Any], body: bytes) -> Any:
    stream = BytesIO(body)
    alert = fastavro.schemaless_reader(stream, schema, None)
    assert stream.read() == b""
    return alert


@pytest.mark.parametrize("version", VERSIONS)
def test_every_nullable_field_of_every_version(version: str) -> None:
    schema, alert = parsed(official_schema(version)), sample_alert(version)
    body = body_of(alert, version)
    whole = decoded(schema, body)
    nullable = [*nullable_fields(schema)]
    assert len(nullable) >= 3
    for names in (*([name] for name in nullable), nullable):
        thin = Thinner(schema, names).thin(b"12345" + body, 5)
        expected = whole | dict.fromkeys(names)
        # Byte for byte what another encoder makes of it.
        assert thin == body_of(expected, version)
        assert decoded(schema, thin) == expected


@pytest.mark.parametrize("images", [(FITS, FITS, FITS), (FITS, None, FITS), (FITS * 2, FITS, FITS)])
def test_cutouts(images: tuple[bytes | None, ...]) -> None:
    present = [name for name in CUTOUTS if name in nullable_fields(official_schema("10.0"))]
    alert = sample_alert("10.0") | dict(zip(present, images, strict=True))
    schema, body = parsed(official_schema("10.0")), body_of(alert, "10.0")
    thin = Thinner(schema, CUTOUTS).thin(body)
    assert decoded(schema, thin) == decoded(schema, body) | dict.fromkeys(present)
    # All that comes before the images is as it was.
    assert body.startswith(thin[: -len(present)])


def test_images_are_found_from_the_end_without_reading_the_history() -> None:
    alert = sample_alert("10.0") | dict.fromkeys(CUTOUTS, FITS)
    schema, body = parsed(official_schema("10.0")), bytearray(body_of(alert, "10.0"))
    thinner = Thinner(schema, CUTOUTS)
    expected = thinner.thin(bytes(body))
    body[40:60] = b"\xff" * 20
    assert len(thinner.thin(bytes(body))) == len(expected)


def test_what_cannot_be_null_stays() -> None:
    schema, body = parsed(official_schema("10.0")), body_of(sample_alert("10.0"), "10.0")
    thinner = Thinner(schema, ["diaSource", "diaSourceId", "nothing"])
    assert thinner.names == ()
    assert thinner.thin(body) == body


def test_null_may_come_second_in_a_union() -> None:
    fields = [{"name": "a", "type": ["string", "null"]}, {"name": "b", "type": "long"}]
    schema = parsed({"type": "record", "name": "r", "fields": fields})
    stream = BytesIO()
    fastavro.schemaless_writer(stream, schema, {"a": "x" * 100, "b": 7})
    assert decoded(schema, Thinner(schema, ["a"]).thin(stream.getvalue())) == {"a": None, "b": 7}


def test_named_types_that_a_field_before_defines() -> None:
    point = {"type": "record", "name": "point", "fields": [{"name": "x", "type": "double"}]}
    fields = [
        {"name": "a", "type": point},
        {"name": "b", "type": ["null", "point"]},
        {"name": "c", "type": {"type": "array", "items": "point"}},
    ]
    schema = parsed({"type": "record", "name": "r", "fields": fields})
    stream = BytesIO()
    alert = {"a": {"x": 1.0}, "b": {"x": 2.0}, "c": [{"x": 3.0}]}
    fastavro.schemaless_writer(stream, schema, alert)
    thin = Thinner(schema, ["b"]).thin(stream.getvalue())
    assert decoded(schema, thin) == alert | {"b": None}


@pytest.mark.parametrize("end", [0, 5, 200])
def test_alert_that_is_cut_short(end: int) -> None:
    schema, body = parsed(official_schema("10.0")), body_of(sample_alert("10.0"), "10.0")
    with pytest.raises(UndecodableError):
        Thinner(schema, CUTOUTS).thin(body[:end])
