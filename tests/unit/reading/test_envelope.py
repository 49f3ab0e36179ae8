"""What a message says of itself: the wire format, a container file, Fink's, or what else it is."""

from __future__ import annotations

import gzip
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from tests.support.samples import (
    FITS,
    body_of,
    official_schema,
    sample_alert,
    with_images,
    write_container,
)

from alertstream.avro.schemas import Schemas, parsed, plain_schema
from alertstream.avro.wire import pack
from alertstream.errors import SchemaError, UndecodableError
from alertstream.kafka.messages import Message
from alertstream.reading.decoder import AlertDecoder, Undecodable
from alertstream.reading.envelope import SingleSchema, opened, schema_from, schema_id_in
from alertstream.reading.thinning import Thinning

ALERT = with_images("10.0", cutoutScience=FITS)
BODY = body_of(ALERT, "10.0")
KEY = json.dumps(plain_schema(official_schema("10.0")), indent=2).encode()
"""As Fink writes it."""
OF_SPARK = {
    "type": "record",
    "name": "topLevelRecord",
    "fields": [{"name": name, "type": ["long", "null"]} for name in ("candid", "visit")],
}
"""Its first byte is 0, as the wire format's."""


def as_fink(body: bytes, schema: Any) -> Message:
    return Message("fink", 0, 0, 0, json.dumps(schema, indent=2).encode(), body)


def container(schema: Any, alerts: list[Any], **more: Any) -> bytes:
    stream = BytesIO()
    fastavro.writer(stream, schema, alerts, **more)
    return stream.getvalue()


@pytest.mark.parametrize("paths", [None, ("diaSource.snr",)])
def test_the_schema_is_the_key_of_a_message_of_fink(paths: tuple[str, ...] | None) -> None:
    decoder = AlertDecoder(Schemas(), paths)
    snr = ALERT["diaSource"]["snr"]
    for body in (BODY, BODY):
        found = decoder.decode(Message("fink", 0, 0, 0, KEY, body))
        assert found == (ALERT if paths is None else {"diaSource": {"snr": snr}})
    for damaged in (BODY[:-1], BODY + b"\0", b"{}"):
        assert isinstance(decoder.decode(Message("fink", 0, 0, 0, KEY, damaged)), Undecodable)


def test_a_body_that_looks_like_the_wire_format() -> None:
    body = b"\0\0\0\x02"
    message = as_fink(body + b"", OF_SPARK)
    assert AlertDecoder(Schemas()).decode(message) == {"candid": 0, "visit": 1}
    assert schema_id_in(message) is None
    wire = Message("fink", 0, 0, 0, b'{"id": 7}', b"\0\0\0\x03\xe8" + BODY)
    assert AlertDecoder(Schemas()).decode(wire) == ALERT
    assert schema_id_in(wire) == 1000


def test_a_key_that_is_no_valid_schema() -> None:
    for key, cause in (
        (b'{"fields"', "its schema is not valid JSON"),
        (b'{"fields": []}', "not a valid Avro schema"),
    ):
        found = AlertDecoder(Schemas()).decode(Message("fink", 0, 0, 0, key, BODY))
        assert isinstance(found, Undecodable)
        assert found.cause.startswith(f"the schema in the key: {cause}")


def test_fink_thin() -> None:
    message = Message("fink", 0, 0, 0, KEY, BODY)
    thin = Thinning(["cutoutScience"], Schemas(), pytest.fail)(message)
    assert AlertDecoder(Schemas()).decode(thin) == {**ALERT, "cutoutScience": None}


def test_a_container_file_with_empty_blocks() -> None:
    schema = official_schema("10.0")
    alert = sample_alert("10.0")
    one = container(schema, [alert], sync_marker=b"s" * 16)
    empty = b"\0\0" + b"s" * 16
    assert AlertDecoder(Schemas()).fields_of(one + 3 * empty) == alert
    header = container(schema, [], sync_marker=b"s" * 16)
    assert AlertDecoder(Schemas()).fields_of(header + empty + one[len(header) :]) == alert
    for wrong in (header, header + empty, one + one[len(header) :], one + 16 * empty):
        with pytest.raises(UndecodableError, match="without exactly one record"):
            opened(wrong)
    with pytest.raises(UndecodableError, match="without exactly one record"):
        opened(one + b"\0\x02x" + b"s" * 16)


def test_a_codec_that_is_not_supported() -> None:
    message = container(OF_SPARK, [{"candid": 1, "visit": 2}], codec="deflate")
    with pytest.raises(UndecodableError, match="container file: the codec inflate is not supp"):
        opened(message.replace(b"deflate", b"inflate"))


@pytest.mark.parametrize(
    "value, cause",
    [
        (None, "no content"),
        (b"", "empty message"),
        (b' {"title": "GRB"}', "JSON, not Avro"),
        (b"\xef\xbb\xbf[1, 2]", "JSON, not Avro"),
        ('{"name": "' + "é" * 400 + '"}', "JSON, not Avro"),
        (b"<?xml version='1.0'?><voe:VOEvent/>", "XML, not Avro"),
        ("Étoile\n", "plain text, not Avro"),
        (gzip.compress(b"alert", mtime=0), "gzip, not Avro"),
        (b"SIMPLE  =                    T", "FITS, not Avro"),
        (b"{\x00\xff", "no wire-format header"),
        (b"\x9e\xff\xff\xff\xe9\xff\xd2", "no wire-format header"),
    ],
)
def test_what_a_message_is_that_is_no_alert(value: bytes | str | None, cause: str) -> None:
    with pytest.raises(UndecodableError, match=f"^{cause}$"):
        opened(value.encode() if isinstance(value, str) else value)


def test_one_schema_for_all_messages_with_or_without_a_header() -> None:
    decoder = AlertDecoder(SingleSchema(official_schema("10.0")))
    wire = pack(7, BODY)
    for value in (wire, BODY, wire, container(official_schema("10.0"), [ALERT])):
        assert decoder.decode(Message("t", 0, 0, 0, b"key", value)) == ALERT
    for key in (b'{"type": "record", "fields": []}', KEY):
        assert decoder.decode(Message("t", 0, 0, 0, key, BODY)) == ALERT
    for value in (b"", b"{}", wire[:-1], BODY[:-1], None):
        assert isinstance(decoder.decode(Message("t", 0, 0, 0, None, value)), Undecodable)


def test_one_schema_for_bodies_that_begin_like_a_header() -> None:
    given = SingleSchema(parsed(OF_SPARK))
    decoder = AlertDecoder(given)
    for body, visit in (
        (b"\0\0\0\x02", 1),
        (b"\0\xf0\xa2\4\0\x04", 2),
        (b"\0\0\0\3\xe8\0\0\0\x06", 3),
    ):
        assert decoder.decode(Message("t", 0, 0, 0, None, body))["visit"] == visit
    thin = Thinning(["visit"], given, pytest.fail)(Message("t", 0, 0, 0, None, b"\0\0\0\x02"))
    assert thin.value == b"\0\0\2"


def test_a_schema_from_a_file(tmp_path: Path) -> None:
    name = official_schema("10.0")["name"]
    (tmp_path / "s.avsc").write_text(json.dumps(official_schema("10.0")))
    write_container(tmp_path / "a.avro", official_schema("10.0"), [ALERT])
    assert schema_from(tmp_path / "s.avsc")["name"] == name
    assert schema_from(tmp_path / "a.avro")["name"] == name
    (tmp_path / "m.avro").write_bytes(pack(1000, BODY))
    (tmp_path / "bad.avsc").write_text("{")
    for bad, cause in (
        ("m.avro", "without their schema"),
        ("bad.avsc", "JSON"),
        ("no.avsc", "be read"),
    ):
        with pytest.raises(SchemaError, match=cause):
            schema_from(tmp_path / bad)
