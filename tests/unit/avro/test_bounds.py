"""What a few bytes of a message may cost: never more than 2 s or 300 MB."""

from __future__ import annotations

import resource
import time
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from tests.support.hostile_messages import (
    COMPRESS,
    array,
    carried,
    doubling,
    items,
    nested,
    record,
    wrapped,
)
from tests.support.samples import body_of, sample_alert, schema_id

from alertstream.alert.surveys import field_paths
from alertstream.avro import decoder as decoder_module
from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import pack, varint
from alertstream.errors import UndecodableError
from alertstream.reading.decoder import AlertDecoder

MAX_SECONDS, MAX_MEGABYTES = 2.0, 300
MEGABYTE = 1024 * 1024
IN_PART = field_paths(["visit", "snr", "flux"])
IMAGE = b"SIMPLE  =" + bytes(3 * MEGABYTE)


@pytest.fixture(autouse=True)
def within_bounds() -> Iterator[None]:
    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    megabytes, begin = peak(), time.process_time()
    yield
    assert time.process_time() - begin < 2 * MAX_SECONDS
    assert peak() - megabytes < MAX_MEGABYTES


def refused(message: bytes, *ways: Collection[str] | None) -> set[str]:
    """Why it cannot be decoded, in these ways or as a filter does; empty if it can be."""
    causes = set()
    for paths in ways or (IN_PART,):
        begin = time.process_time()
        try:
            AlertDecoder(Schemas(), paths).fields_of(message)
        except UndecodableError as error:
            causes.add(error.what)
        assert time.process_time() - begin < MAX_SECONDS
    return causes


def at_snr(kind: Any) -> dict[str, Any]:
    source = {"type": "record", "name": "s", "fields": [{"name": "snr", "type": kind}]}
    return {"type": "record", "name": "a", "fields": [{"name": "diaSource", "type": source}]}


@pytest.mark.hostile("1a: a schema of 28 doublings, in 3 KB")
@pytest.mark.parametrize("innermost", ["float", "int", "null", array("double")])
def test_schema_that_doubles(innermost: Any) -> None:
    causes = refused(carried(doubling(28, innermost), b"\2"), IN_PART, {"f0.f0"}, None)
    assert causes == {"container file: a schema of too many types"}


@pytest.mark.hostile("1b: 64 million truths in three records each, deflated to 64 KB")
@pytest.mark.parametrize("megabytes", [8, 64])
def test_array_that_nobody_asked_for(megabytes: int) -> None:
    body = COMPRESS["deflate"](items(megabytes * MEGABYTE, b"\1"))
    message = carried(record(array(wrapped("boolean"))), body, "deflate")
    assert len(message) < 400_000
    cause = "damaged container file" if megabytes > 16 else "more values than an alert may have"
    assert refused(message) == {cause}


@pytest.mark.hostile("1c: 8 million truths in three records each, where a filter looks")
def test_array_where_a_filter_looks() -> None:
    body = COMPRESS["deflate"](items(8 * MEGABYTE, b"\1"))
    message = carried(at_snr(array(wrapped("boolean"))), body, "deflate")
    assert refused(message) == {"more values than an alert may have"}


@pytest.mark.hostile("1d: a decimal number of a megabyte of digits")
def test_decimal_number_of_a_megabyte() -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    digits = b"\x55" * MEGABYTE
    message = carried(record(decimal), varint(len(digits)) + digits)
    assert AlertDecoder(Schemas()).fields_of(message) == {"f0": digits}


LARGEST = 250_000
"""Bytes that are decoded without counting, if a schema makes much of each."""


@pytest.mark.hostile("1e: as many values as are allowed, of every kind of item")
@pytest.mark.parametrize(
    ("kind", "item"),
    {
        "truths": ("boolean", b"\1"),
        "truths in records": (wrapped("boolean"), b"\1"),
        "truths in five records": (wrapped("boolean", 5), b"\1"),
        "empty arrays": (array("int"), b"\0"),
        "empty arrays of deep arrays": (nested(25), b"\0"),
        "empty maps": ({"type": "map", "values": "int"}, b"\0"),
        "empty texts": ("string", b"\0"),
        "many nulls": (record("int", *["null"] * 20, name="n"), b"\2"),
        "the last of 16 branches": (
            [*({"type": "fixed", "name": f"x{n}", "size": 1} for n in range(15)), wrapped("int")],
            varint(15) + b"\2",
        ),
        "times of day": ({"type": "int", "logicalType": "time-millis"}, b"\2"),
        "long names": (record("int", name="n") | {"fields": [
            {"name": "x" * 256, "type": "int"}]}, b"\2"),
    }.values(),
)  # fmt: skip
@pytest.mark.parametrize(
    "size", [LARGEST, *(pytest.param(n * LARGEST, marks=pytest.mark.slow) for n in (4, 16))]
)
def test_as_many_values_as_are_allowed(kind: Any, item: bytes, size: int) -> None:
    refused(carried(at_snr(array(kind)), items(size // len(item), item)))


@pytest.mark.hostile("1f: a union of 10,000 types, searched for each item")
def test_union_of_many_types() -> None:
    many = [{"type": "fixed", "name": f"x{n}", "size": 1} for n in range(10_000)]
    message = carried(at_snr(array(many)), items(100_000, varint(9_999) + b"a"))
    assert refused(message) == {"container file: a schema of too many types"}


def with_images(alert: dict[str, Any], version: str, image: bytes) -> bytes:
    alert |= dict.fromkeys(("cutoutDifference", "cutoutScience", "cutoutTemplate"), image)
    return pack(schema_id(version), body_of(alert, version))


@pytest.mark.parametrize("version", ["7.4", "10.0", "11.1"])
def test_large_alerts_are_decoded(version: str) -> None:
    alert = sample_alert(version)
    fluxes = [name for name in alert["diaSource"] if name.endswith(("Flux", "FluxErr"))]
    alert["prvDiaSources"] = [alert["diaSource"] | dict.fromkeys(fluxes, 1.5)] * 2000
    message = with_images(alert, version, IMAGE)
    assert len(message) > 9 * MEGABYTE
    assert len(AlertDecoder(Schemas()).fields_of(message)["prvDiaSources"]) == 2000
    part = AlertDecoder(Schemas(), IN_PART).fields_of(message)
    assert [*part] == ["diaSource"]


def test_alerts_as_large_as_they_come_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(decoder_module, "_CountedBytes")
    message = with_images(sample_alert("10.0"), "10.0", IMAGE[:90_000])
    assert len(message) > 270_000
    for paths in (None, IN_PART):
        assert AlertDecoder(Schemas(), paths).fields_of(message)
