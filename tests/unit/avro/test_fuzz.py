"""Whatever comes from outside is decoded or refused: in time, in memory, and with our own error."""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import time
import tracemalloc
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.fuzzing import GENERATORS, GIANT, MAX_SECONDS, VERSIONS, WHOLE, Tally, damaged
from tests.support.hostile_messages import COMPRESS, array, carried, nested, record
from tests.support.samples import body_of, official_schema, sample_alert, schema_id, write_container

from alertstream.alert.surveys import field_paths
from alertstream.avro.container import blocks
from alertstream.avro.container.file import ContainerFile
from alertstream.avro.decoder import Decoder
from alertstream.avro.schemas import Schemas, package_folder, parsed, read_schema
from alertstream.avro.wire import pack, varint
from alertstream.errors import DataError, SchemaError, UndecodableError
from alertstream.reading.decoder import AlertDecoder
from alertstream.reading.envelope import opened

FUZZ_TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
SECOND = 1.0
MEGABYTE = 1024 * 1024
FILTERED = field_paths(["visit", "snr", "flux"])
PARTS = [
    AlertDecoder(Schemas(), fields)
    for fields in (
        FILTERED,
        {"prvDiaSources.diaSourceId", "f0.a", "f1.b", "f2.c.a"},
        (),
    )
]


def thorough(cases: int) -> Callable[[Any], Any]:
    """As many cases, the same ones at each run; ``FUZZ_TIMES=40 pytest`` tries forty times more."""
    return settings(
        max_examples=cases * FUZZ_TIMES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


SCHEMA_6 = (package_folder("schemas") / "lsst.v6_0.alert.avsc").read_text(encoding="utf-8")


def decode_or_refuse(message: bytes | None, decoders: Iterable[AlertDecoder] = ()) -> None:
    for decoder in decoders or (WHOLE, *PARTS):
        begin = time.process_time()
        try:
            assert isinstance(decoder.fields_of(message), dict)
        except UndecodableError as error:
            assert len(str(error)) < 500
        assert time.process_time() - begin < MAX_SECONDS


def read_or_refuse(path: Path) -> int:
    """Read a file; return how many records it gives."""
    count, begin = 0, time.process_time()
    try:
        with ContainerFile(path) as container:
            for body in container:
                assert isinstance(body, bytes)
                count += 1
    except DataError as error:
        assert str(path) in str(error)
    assert time.process_time() - begin < SECOND
    return count


@pytest.fixture(scope="module", autouse=True)
def memory_is_bounded() -> Any:
    """What all cases together make the process grow by."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown / 1024 < 300


@thorough(150)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"Obj\x01" + tail))
def test_any_bytes(message: bytes) -> None:
    decode_or_refuse(message)


@thorough(120)
@given(st.sampled_from(VERSIONS), st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_any_body_behind_a_header(version: str, body: bytes, number: int) -> None:
    decode_or_refuse(pack(schema_id(version), body))
    decode_or_refuse(pack(number, body))


@pytest.mark.hostile("1i: messages made by chance, by three generators")
@pytest.mark.parametrize(
    ("generator", "cases"), [("mutated", 80), ("generated", 80), ("compressed", 50)]
)
def test_made_messages(generator: str, cases: int) -> None:
    """As many of them as one likes are tried by ``python -m tests.faults.fuzz``."""
    made, check = GENERATORS[generator]
    tally = Tally()
    thorough(cases)(given(made)(lambda made: check(made, tally)))()
    assert tally.inputs[generator] > 12 * cases
    assert tally.alerts[generator] > tally.inputs[generator] / 5


@thorough(120)
@given(message=damaged())
def test_damaged_files(message: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.avro"
    path.write_bytes(message)
    read_or_refuse(path)


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "snappy", "xz", "zstandard"])
def test_damaged_compressed_files(codec: str, tmp_path: Path) -> None:
    alerts = [sample_alert("10.0")] * 20
    path = write_container(
        tmp_path / "a.avro", official_schema("10.0"), alerts, codec=codec, sync_interval=20_000
    )
    content = path.read_bytes()
    assert read_or_refuse(path) == 20
    rng = random.Random(codec)
    for _ in range(40 * FUZZ_TIMES):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged[: rng.choice((len(damaged), rng.randrange(len(damaged))))])
        assert read_or_refuse(path) <= 20


ODD = st.sampled_from(
    [None, True, -1, 0, 2**70, 1.5, "", "null", "int", "array", "r", "\ud800", "\x1b[2J", [], {}]
)
LOGICAL = st.sampled_from(
    [
        *("decimal", "uuid", "date", "time-millis", "time-micros", "timestamp-millis"),
        *("timestamp-micros", "local-timestamp-micros", "duration", "nobody-knows"),
    ]
)
NAMES = st.sampled_from(["a", "b", "c", "x.y", "x.a", "int", "record"])


def types(inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = st.fixed_dictionaries(
        {"name": NAMES | ODD, "type": inside}, optional={"default": ODD, "aliases": ODD | inside}
    )
    records = {"type": st.sampled_from(["record", "error"]), "name": NAMES | ODD}
    return (
        st.lists(inside, max_size=4)
        | st.fixed_dictionaries({"type": st.just("array"), "items": inside})
        | st.fixed_dictionaries({"type": st.just("map"), "values": inside})
        | st.fixed_dictionaries(
            records | {"fields": st.lists(fields, max_size=5)}, optional={"namespace": NAMES | ODD}
        )
    )


PRIMITIVES = st.sampled_from(
    ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
)
SIMPLE = (
    PRIMITIVES
    | NAMES
    | ODD
    | st.fixed_dictionaries(
        {"type": PRIMITIVES, "logicalType": LOGICAL}, optional={"precision": ODD, "scale": ODD}
    )
    | st.fixed_dictionaries(
        {"type": st.just("fixed"), "name": NAMES, "size": st.integers(0, 20) | ODD},
        optional={"logicalType": LOGICAL, "precision": st.integers(1, 40)},
    )
    | st.fixed_dictionaries(
        {"type": st.just("enum"), "name": NAMES, "symbols": st.lists(NAMES | ODD, max_size=3)}
    )
)
BODIES = st.lists(
    st.binary(max_size=12) | st.sampled_from(GIANT).map(varint) | st.integers(-3, 9).map(varint),
    max_size=12,
).map(b"".join)


@thorough(100)
@given(st.lists(st.recursive(SIMPLE, types, max_leaves=12), max_size=4), BODIES)
def test_any_schema_in_a_message(fields: list[Any], body: bytes) -> None:
    message = carried(record(*fields), body)
    decode_or_refuse(message)
    assert opened(message)[1] == body


@thorough(20)
@given(st.data())
def test_odd_values_in_a_real_schema(data: st.DataObject) -> None:
    schema = json.loads(SCHEMA_6)
    node: Any = schema
    while isinstance(node, dict | list) and node:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or data.draw(st.integers(0, 4)) == 0:
            node[key] = data.draw(ODD)
            break
        node = node[key]
    decode_or_refuse(carried(schema, body_of(sample_alert("6.0"), "6.0")))


BOMBS = {
    "nothing, for ever": (record(array("null")), varint(2**62) + b"\0"),
    "nothing, in a negative block": (record(array("null")), varint(-(2**62)) + varint(1) + b"\0"),
    "empty records": (record(array(record(name="e"))), varint(2**62) + b"\0"),
    "records of nothing": (record(array(record("null", name="e"))), varint(2**62) + b"\0"),
    "fixed of no size": (
        record(array({"type": "fixed", "name": "e", "size": 0})),
        varint(2**62) + b"\0",
    ),
    "a record that doubles": (
        record(*[record(*[f"d{n - 1}"] * 2, name=f"d{n}") if n else record("null", name="d0")
                 for n in range(40)]),
        b"",
    ),
    "many nulls a byte": (record(array(record("boolean", *["null"] * 500, name="e"))), b""),
    "itself": (
        {"type": "record", "name": "r", "fields": [{"name": "f0", "type": ["null", "r"]}]},
        varint(1) * 1_000_000,
    ),
    "itself, in arrays": (record({"type": "array", "items": "r"}), varint(1) * 1_000_000),
    "deep": (record(nested(40)), varint(1) * 40),
    "so deep that JSON cannot be read": (
        b'{"type":"record","name":"r","fields":[{"name":"f0","type":'
        + b'{"type":"array","items":' * 30_000 + b'"int"' + b"}" * 30_000 + b"}]}",
        b"",
    ),
    "deep by names": (
        record(*[record(f"d{n - 1}" if n else "int", name=f"d{n}") for n in range(5000)]),
        b"",
    ),
    "marked as parsed": (
        {"__fastavro_parsed": True, "__named_schemas": {"x": array("null")}, **record("x")},
        varint(2**62) + b"\0",
    ),
    "a type named as another": (
        record({"type": "fixed", "name": "float", "size": 0}, array("float")),
        varint(2**62),
    ),
    "a name with control characters": (record("int", name="\x1b[2J"), b"\0"),
    "a name that is no text": ({"type": "record", "name": "r", "fields": [
        {"name": ["a"], "type": "int"}]}, b"\0"),
    "no schema": ({"type": "nonsense"}, b""),
    "no record": ("int", b"\0"),
    "no JSON": (b"{", b""),
    "no UTF-8": (b'{"\xff"}', b""),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_schema_that_is_refused(name: str) -> None:
    schema, body = BOMBS[name]
    message = carried(schema, body)
    for decoder in (WHOLE, *PARTS):
        begin = time.process_time()
        with pytest.raises(UndecodableError, match="container file"):
            decoder.fields_of(message)
        assert time.process_time() - begin < SECOND


LIARS = {
    "bytes of 2 GB": (record("bytes"), varint(2**31 - 1) + b"x"),
    "string of 2 GB": (record("string"), varint(2**31 - 1) + b"x"),
    "fixed of 2 GB": (record({"type": "fixed", "name": "e", "size": 2**31 - 1}), b"x"),
    "bytes of negative size": (record("bytes"), varint(-5) + b"x"),
    "array of 2**62 items": (record(array("int")), varint(2**62) + b"\2" * 100),
    "array of 2**62 floats": (record(array("float")), varint(2**62) + b"\2" * 100),
    "array of 2**62 truths": (record(array("boolean")), varint(2**62) + b"\1" * 100),
    "array of 2**62 records of floats": (
        record(array(record("float", "double", name="e"))),
        varint(2**62) + b"\2" * 100,
    ),
    "array of 2**62 named types": (
        record({"type": "fixed", "name": "e", "size": 3}, array("e")),
        b"abc" + varint(2**62) + b"\2" * 100,
    ),
    "array of 2**62 arrays of floats": (
        record(array(array("double"))),
        varint(2**62) + varint(2**61) + b"\2" * 100,
    ),
    "map of 2**62 items": (record({"type": "map", "values": "int"}), varint(2**62) + b"\2a\2" * 9),
    "map of 2**62 nulls": (record({"type": "map", "values": "null"}), varint(2**62) + b"\2a" * 9),
    "negative count, wrong bytes": (record(array("int")), varint(-3) + varint(2**40) + b"\2\2"),
    "negative count, negative bytes": (record(array("int")), varint(-3) + varint(-9) + b"\2\2"),
    "least count": (record(array("int")), varint(-(2**63)) + b"\2\2"),
    "number that never ends": (record("long"), b"\xff" * 1000),
    "time beyond all years": (
        record({"type": "long", "logicalType": "timestamp-millis"}),
        varint(2**62),
    ),
    "date beyond all years": (record({"type": "int", "logicalType": "date"}), varint(2**40)),
    "time of day that is none": (
        record({"type": "long", "logicalType": "time-micros"}),
        varint(2**60),
    ),
    "UUID that is none": (record({"type": "string", "logicalType": "uuid"}), b"\2a"),
    "string that is no UTF-8": (record("string"), b"\4\xff\xfe"),
    "branch that is not there": (record(["null", "int"]), varint(7)),
    "symbol that is not there": (
        record({"type": "enum", "name": "e", "symbols": ["A"]}),
        varint(7),
    ),
}


@pytest.mark.parametrize("name", LIARS)
def test_content_that_claims_what_is_not_there(name: str) -> None:
    schema, body = LIARS[name]
    decoder = Decoder(parsed(schema))
    in_part = Decoder(parsed(record(*[each["type"] for each in schema["fields"]], "int")), ("f9",))
    tracemalloc.start()
    try:
        for decode in (WHOLE.fields_of, PARTS[0].fields_of):
            begin = time.process_time()
            try:
                decode(carried(schema, body))
            except UndecodableError:
                pass
            else:
                # What is skipped is not looked at, so it may be odd; but it must be there.
                assert decode != WHOLE.fields_of
                assert decoder.end_of_record(body, 0) <= len(body)
            assert time.process_time() - begin < SECOND
        with pytest.raises(UndecodableError):
            decoder.decode(body)
        with pytest.raises(UndecodableError):
            in_part.decode(body)
        assert tracemalloc.get_traced_memory()[1] < MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("arrays in an array", (array(array("int")), b"\0")),
        ("records in an array", (array(record(record("boolean", name="c"), name="b")), b"\1")),
        ("empty strings in a map", ({"type": "map", "values": "string"}, b"\0\0")),
    ],
)
def test_memory_is_in_proportion_to_the_message(kind: str, message: tuple[Any, bytes]) -> None:
    schema, item = message
    count = MEGABYTE // 32 // len(item)
    body = varint(count) + item * count + b"\0"
    decoder = Decoder(parsed(record(schema)))
    gc.collect()
    tracemalloc.start()
    try:
        alert = decoder.decode(body)
        assert len(alert["f0"]) in (1, count)
        assert tracemalloc.get_traced_memory()[1] < 600 * len(body)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codec", COMPRESS)
def test_block_that_swells(codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 16 * MEGABYTE
    monkeypatch.setattr(blocks, "MAX_BLOCK", limit)
    monkeypatch.setattr(blocks, "MAX_MESSAGE_BLOCK", limit)
    schema, size = record("bytes"), 2 * limit
    bomb = carried(schema, COMPRESS[codec](varint(size) + bytes(size)), codec)
    assert len(bomb) < size / 10
    gc.collect()
    tracemalloc.start()
    try:
        with pytest.raises(UndecodableError, match="damaged container file"):
            WHOLE.fields_of(bomb)
        path = tmp_path / "bomb.avro"
        path.write_bytes(bomb)
        assert read_or_refuse(path) == 0
        assert tracemalloc.get_traced_memory()[1] < 2.5 * limit
    finally:
        tracemalloc.stop()
    fine = carried(schema, COMPRESS[codec](varint(MEGABYTE) + bytes(MEGABYTE)), codec)
    assert WHOLE.fields_of(fine) == {"f0": bytes(MEGABYTE)}


@pytest.mark.parametrize("count", [2**62, -1, -(2**63), 2, 0])
def test_block_with_another_number_of_records(count: int, tmp_path: Path) -> None:
    for schema, body in ((record("int"), b"\2"), (record(), b""), ("bytes", b"\2a")):
        message = carried(schema, body, count=count)
        with pytest.raises(UndecodableError, match="container file"):
            WHOLE.fields_of(message)
        path = tmp_path / "x.avro"
        path.write_bytes(message)
        assert read_or_refuse(path) <= 1


def test_schemas_that_messages_bring_do_not_pile_up() -> None:
    decoder = AlertDecoder(Schemas())
    tracemalloc.start()
    try:
        for number in range(300):
            name = f"r{number}"
            assert decoder.fields_of(carried(record("int", name=name) | {"doc": "x" * 9999}, b"\2"))
            if number == 100:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", BOMBS)
def test_schema_that_is_refused_in_a_folder(name: str, tmp_path: Path) -> None:
    schema, body = BOMBS[name]
    path = tmp_path / "4242.avsc"
    path.write_bytes(schema if isinstance(schema, bytes) else json.dumps(schema).encode())
    with pytest.raises(SchemaError, match=r"4242\.avsc"):
        read_schema(path)
    with pytest.raises(UndecodableError):
        AlertDecoder(Schemas([tmp_path])).fields_of(pack(4242, body))


def test_what_real_schemas_may_have_is_read() -> None:
    kinds = (
        array("double"),
        {"type": "map", "values": "float"},
        "null",
        {"type": "string", "logicalType": "nobody-knows"},
        record(name="empty"),
        ["null", array(record("float", record("int", name="in"), name="out"))],
    )
    schema = record(*kinds, "long")
    alert = {"f0": [1.5, 2.5], "f1": {"a": 0.5}, "f2": None, "f3": "x", "f4": {}, "f6": 7}
    alert |= {"f5": [{"f0": 1.0, "f1": {"f0": 5}}] * 3}
    stream = BytesIO()
    fastavro.schemaless_writer(stream, schema, alert)
    message = carried(schema, stream.getvalue())
    assert WHOLE.fields_of(message) == alert
    for name in alert:
        assert AlertDecoder(Schemas(), {name}).fields_of(message) == {name: alert[name]}
    body = stream.getvalue()
    for end in range(len(body)):
        with pytest.raises(UndecodableError):
            Decoder(parsed(schema), {"f6"}).decode(body[:end])
