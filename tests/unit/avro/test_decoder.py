"""Alerts in whole and in part: everything that is asked for, nothing that is broken."""

from __future__ import annotations

import pytest
from tests.support import samples
from tests.support.hostile_messages import record
from tests.support.samples import FITS, WANTED, body_of, official_schema, sample_alert, with_images

from alertstream.avro.decoder import Decoder
from alertstream.avro.schemas import parsed
from alertstream.avro.thinning import Thinner
from alertstream.errors import UndecodableError


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


def test_huge_array_is_refused_without_allocating_it() -> None:
    schema = parsed({"type": "record", "name": "r", "fields": [{"name": "b", "type": "bytes"}]})
    two_gigabytes = b"\xfe\xff\xff\xff\x0f"
    for fields in (None, ()):
        with pytest.raises(UndecodableError):
            Decoder(schema, fields).decode(two_gigabytes + b"x")


@pytest.mark.parametrize(
    ("union", "body", "value"),
    [
        (["null", "double", "long"], b"\4\xfe" + b"\xff" * 8 + b"\1", 2**63 - 1),
        (["null", "string", "bytes"], b"\4\2\xff", b"\xff"),
        (["null", "bytes", {"type": "string", "logicalType": "x"}], b"\4\2a", "a"),
    ],
)
def test_types_that_could_be_read_as_one_another_are_not(
    union: list[str], body: bytes, value: object
) -> None:
    schema = parsed(record(union, "int"))
    for fields in (None, {"f0"}):
        assert repr(Decoder(schema, fields).decode(body + b"\0")["f0"]) == repr(value)


def test_of_two_fields_of_one_name_the_last_counts() -> None:
    fields = [{"name": name, "type": "int"} for name in ("twin", "other", "twin")]
    schema = parsed({"type": "record", "name": "r", "fields": fields})
    for wanted in (None, ("twin",), ("twin", "other")):
        assert Decoder(schema, wanted).decode(b"\2\4\6")["twin"] == 3
    assert Thinner(schema, ["twin"]).thin(b"\2\4\6") == b"\2\4\6"
