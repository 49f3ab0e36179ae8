"""Bytes to alerts: everything that is asked for, nothing that is broken."""

from __future__ import annotations

import json
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from tests.support import samples
from tests.support.samples import body_of, official_schema, sample_alert, schema_id, write_container

from alertstream.alert.surveys import field_paths
from alertstream.avro.blocks import open_container_message
from alertstream.avro.container import ContainerFile
from alertstream.avro.decoder import Decoder
from alertstream.avro.message_decoder import MessageDecoder
from alertstream.avro.schemas import Schemas, package_folder, parsed
from alertstream.avro.wire import pack, schema_id_of, unpack
from alertstream.errors import DataError, UndecodableError
from alertstream.sending.encoders import container_encoder

FITS = b"SIMPLE  =" + bytes(2880 - 9)
WANTED = field_paths(["visit", "snr", "flux"])


def with_images(version: str, **images: bytes | None) -> dict[str, Any]:
    alert = sample_alert(version)
    blank = {"cutoutDifference": FITS, "cutoutScience": FITS * 2, "cutoutTemplate": FITS}
    return alert | blank | images


def test_wire_format_is_a_zero_and_a_big_endian_id() -> None:
    assert pack(0x01020304, b"body") == b"\x00\x01\x02\x03\x04body"
    number, body = unpack(b"\x00\x00\x00\x03\xe8body")
    assert (number, bytes(body)) == (1000, b"body")


@pytest.mark.parametrize("message", [b"", b"\x00\x00\x00\x03", b"\x01\x00\x00\x03\xe8body"])
def test_no_header(message: bytes) -> None:
    with pytest.raises(UndecodableError, match="no wire-format header"):
        unpack(message)
    assert schema_id_of(message) is None


@pytest.mark.parametrize("version", samples.VERSIONS)
def test_official_sample_decodes_as_fastavro_decodes_it(version: str) -> None:
    with ContainerFile(samples.sample_file(version)) as container:
        (body,) = container
    message = pack(schema_id(version), body)
    assert MessageDecoder(Schemas()).decode(message) == sample_alert(version)


@pytest.mark.parametrize("version", samples.VERSIONS)
@pytest.mark.parametrize("template", [FITS, None])
def test_part_of_an_alert_is_as_in_the_whole(version: str, template: bytes | None) -> None:
    alert = with_images(version, cutoutTemplate=template)
    part = Decoder(official_schema(version), WANTED).decode(body_of(alert, version))
    assert list(part) == ["diaSource"]
    assert part["diaSource"]
    for name, value in part["diaSource"].items():
        assert alert["diaSource"][name] == pytest.approx(value)


@pytest.mark.parametrize("template", [FITS, b"", b"no FITS at all", None])
def test_every_cut_is_noticed(template: bytes | None) -> None:
    body = body_of(with_images("10.0", cutoutTemplate=template), "10.0")
    for decoder in (Decoder(official_schema("10.0"), WANTED), Decoder(official_schema("10.0"))):
        assert decoder.decode(body)["diaSource"]
        for end in [*range(0, len(body), 97), len(body) - 1]:
            with pytest.raises(UndecodableError):
                decoder.decode(body[:end])


@pytest.mark.parametrize("trailing", [b"\x00", b"\x02\x00", FITS, b"\x02" + FITS])
def test_trailing_bytes_are_noticed(trailing: bytes) -> None:
    body = body_of(with_images("10.0"), "10.0") + trailing
    for fields in (WANTED, None, {"diaSource"}, {"nothing.there"}):
        with pytest.raises(UndecodableError):
            Decoder(official_schema("10.0"), fields).decode(body)


def test_image_sizes_that_change_from_alert_to_alert() -> None:
    decoder = Decoder(official_schema("10.0"), WANTED)
    for size in (1, 3, 2, 1, 5):
        alert = with_images("10.0", cutoutScience=FITS * size, cutoutTemplate=FITS * (6 - size))
        assert decoder.decode(body_of(alert, "10.0"))["diaSource"]["snr"] == pytest.approx(41.1)


def test_image_that_contains_the_start_of_another() -> None:
    nested = FITS + b"\x02" + FITS
    alert = with_images("10.0", cutoutTemplate=nested)
    assert Decoder(official_schema("10.0"), WANTED).decode(body_of(alert, "10.0"))["diaSource"]


def test_fields_of_arrays_and_whole_records() -> None:
    alert = sample_alert("10.0")
    fields = {"prvDiaSources.diaSourceId", "diaSourceId", "cutoutScience"}
    part = Decoder(official_schema("10.0"), fields).decode(body_of(alert, "10.0"))
    assert part["diaSourceId"] == alert["diaSourceId"]
    ids = [source["diaSourceId"] for source in alert["prvDiaSources"]]
    assert [source["diaSourceId"] for source in part["prvDiaSources"]] == ids
    whole = Decoder(official_schema("10.0"), {"diaSource"}).decode(body_of(alert, "10.0"))
    assert whole == {"diaSource": alert["diaSource"]}


def test_unknown_id_and_other_garbage() -> None:
    decoder = MessageDecoder(Schemas(), WANTED)
    for message, cause in (
        (None, "no content"),
        (b"garbage", "no wire-format header"),
        (pack(4242, b"x"), "unknown schema id 4242"),
        (pack(1000, b""), "cut short"),
        (b"Obj\x01garbage", "damaged container file"),
    ):
        with pytest.raises(UndecodableError, match=cause):
            decoder.decode(message)


def test_huge_array_is_refused_without_allocating_it() -> None:
    schema = parsed({"type": "record", "name": "r", "fields": [{"name": "b", "type": "bytes"}]})
    two_gigabytes = b"\xfe\xff\xff\xff\x0f"
    for fields in (None, ()):
        with pytest.raises(UndecodableError):
            Decoder(schema, fields).decode(two_gigabytes + b"x")


@pytest.mark.parametrize("codec", ["null", "deflate", "zstandard", "snappy"])
def test_blocks_of_several_records_in_any_codec(codec: str, tmp_path: Path) -> None:
    alerts = [with_images("7.4", cutoutScience=FITS * (1 + n % 3)) for n in range(10)]
    schema = official_schema("7.4")
    path = write_container(
        tmp_path / "many.avro", schema, alerts, codec=codec, sync_interval=50_000
    )
    with ContainerFile(path) as container:
        bodies = list(container)
    assert bodies == [body_of(alert, "7.4") for alert in alerts]


def test_damaged_file_gives_what_comes_before_the_damage(tmp_path: Path) -> None:
    alerts = [with_images("10.0")] * 5
    path = write_container(tmp_path / "a.avro", official_schema("10.0"), alerts, sync_interval=1)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 7 // 10])
    with ContainerFile(path) as container, pytest.raises(DataError, match="after record 2 "):
        for body in container:
            assert body == body_of(alerts[0], "10.0")


@pytest.mark.parametrize("content", [b"", b"Obj\x01", b"Obj\x02rest", b"no Avro at all" * 9])
def test_file_that_is_no_container(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.avro"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not an Avro container file"):
        ContainerFile(path)


def test_container_file_in_a_message() -> None:
    alert = sample_alert("10.0")
    message = b"".join(container_encoder(official_schema("10.0"))(body_of(alert, "10.0")))
    assert next(iter(fastavro.reader(BytesIO(message)))) == alert
    assert open_container_message(message)[1] == body_of(alert, "10.0")
    assert MessageDecoder(Schemas()).decode(message) == alert
    assert MessageDecoder(Schemas(), WANTED).decode(message)["diaSource"]["visit"] == 1
    for damaged in (message[:-20], message[:40], message + message[-200:]):
        with pytest.raises(UndecodableError, match="container file"):
            MessageDecoder(Schemas()).decode(damaged)


def test_schemas_of_users_come_first(tmp_path: Path) -> None:
    own = {"type": "record", "name": "mine", "fields": [{"name": "n", "type": "long"}]}
    (tmp_path / "1000.avsc").write_text(json.dumps(own))
    assert MessageDecoder(Schemas([tmp_path])).decode(pack(1000, b"\x02")) == {"n": 1}
    assert package_folder("schemas").is_dir()


@pytest.mark.parametrize("schema", ["bytes", {"type": "bytes"}])
@pytest.mark.parametrize("sync_interval", [1, 100_000])
def test_file_of_whole_messages(schema: Any, sync_interval: int, tmp_path: Path) -> None:
    messages = [pack(1000, b"body"), b"", b"garbage", b"\0" * 5000]
    path = write_container(tmp_path / "m.avro", schema, messages, sync_interval=sync_interval)
    with ContainerFile(path) as container:
        assert container.holds_messages
        assert list(container) == messages
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with ContainerFile(path) as container, pytest.raises(DataError, match="damaged after record"):
        list(container)


@pytest.mark.parametrize("schema", ["string", "null", ["bytes"], {"type": "array", "items": "int"}])
def test_file_of_anything_else(schema: Any, tmp_path: Path) -> None:
    path = write_container(tmp_path / "m.avro", schema, [])
    with pytest.raises(DataError, match="the file's schema cannot be used"):
        ContainerFile(path)


def test_struct_layout_of_sample_message() -> None:
    with ContainerFile(samples.sample_file("7.1")) as container:
        (body,) = container
    assert struct.unpack(">bI", pack(schema_id("7.1"), body)[:5]) == (0, 701)
