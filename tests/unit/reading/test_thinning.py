"""Thin messages: a ZTF alert's container stays one that every reader reads."""

from __future__ import annotations

from io import BytesIO

import fastavro
import pytest
from tests.support.ztf import ztf_alert

from alertstream.avro.schemas import Schemas
from alertstream.kafka.messages import Message
from alertstream.reading.thinning import WITHOUT, Thinning

CUTOUTS = ("cutoutScience", "cutoutTemplate", "cutoutDifference")


def message(value: bytes) -> Message:
    return Message("ztf", 0, 7, 0, b"key", value, (("mine", b"1"),))


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "zstandard"])
def test_container_without_cutouts(codec: str) -> None:
    alert, whole = ztf_alert(Science="s", Template="t", Difference="d")
    schema = fastavro.reader(BytesIO(whole)).writer_schema
    stream = BytesIO()
    fastavro.writer(stream, schema, [alert], codec=codec)
    (as_it_was,) = fastavro.reader(BytesIO(whole))
    thin = Thinning(CUTOUTS, Schemas(), pytest.fail)(message(stream.getvalue()))
    reader = fastavro.reader(BytesIO(thin.value or b""))
    assert reader.writer_schema == schema
    assert list(reader) == [as_it_was | dict.fromkeys(CUTOUTS)]
    header = (WITHOUT, b"cutoutScience,cutoutTemplate,cutoutDifference")
    assert thin.headers == (("mine", b"1"), header)
    assert (thin.key, thin.offset) == (b"key", 7)


def test_what_cannot_be_thin_stays_and_is_told_once() -> None:
    told: list[str] = []
    thinning = Thinning(("objectId", "candidate"), Schemas(), told.append)
    _, whole = ztf_alert(Science="s", Template="t", Difference="d")
    for value in (whole, whole, b"\0\0\0\x03\xe8garbage", b""):
        assert thinning(message(value)) == message(value)
    assert told[0].startswith("alerts of ztf.alert stay whole: none of candidate, objectId can")
    assert len(told) == 2
