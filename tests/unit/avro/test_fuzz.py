"""Whatever comes from outside is decoded or refused: in time, in memory, and with our own error."""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.hostile_messages import COMPRESS, array, carried, nested, record
from tests.support.samples import body_of, official_schema, sample_alert, schema_id, write_container

from alertstream.alert.surveys import field_paths
from alertstream.avro import blocks
from alertstream.avro.blocks import opened
from alertstream.avro.container import ContainerFile
from alertstream.avro.decoder import Decoder
from alertstream.avro.schema_tree import Type, tree
from alertstream.avro.schemas import Schemas, package_folder, parsed, read_schema
from alertstream.avro.wire import pack, varint
from alertstream.errors import DataError, SchemaError, UndecodableError
from alertstream.reading.decoder import AlertDecoder
from alertstream.sending.encoders import container_encoder

FUZZ_TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
SECOND = 1.0
MAX_SECONDS = 2.0
MEGABYTE = 1024 * 1024
GIANT = [2**31 - 1, 2**31, 2**62, 2**63 - 1, -1, -2, -(2**31), -(2**63)]
VERSIONS = ("3.0", "6.0", "7.4", "10.0", "11.1")
WHOLE = AlertDecoder(Schemas())
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


def alert_messages() -> list[bytes]:
    """Alerts of several versions, in the wire format and as container files."""
    made = []
    for version in VERSIONS:
        image = b"SIMPLE  =" + bytes(500)
        images = dict.fromkeys(("cutoutDifference", "cutoutScience", "cutoutTemplate"), image)
        body = body_of(sample_alert(version) | images, version)
        made.append(pack(schema_id(version), body))
        made.append(b"".join(container_encoder(Schemas().by_id(schema_id(version)))(body)))
    return made


MESSAGES = alert_messages()
SCHEMA_6 = (package_folder("schemas") / "lsst.v6_0.alert.avsc").read_text(encoding="utf-8")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real message, or a few of them, damaged in one to four places."""
    message = bytearray(draw(st.sampled_from(MESSAGES)))
    for _ in range(draw(st.integers(1, 4))):
        # Half of the damage is where lengths and counts are: in the first and last kilobyte.
        place = draw(st.integers(0, len(message)) | st.integers(0, 1000) | st.integers(-1000, -1))
        kind = draw(st.sampled_from(("cut", "flip", "insert", "remove", "giant", "double")))
        if kind == "cut":
            del message[place:]
        elif kind == "flip" and -len(message) <= place < len(message):
            message[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "insert":
            message[place:place] = draw(st.binary(max_size=20))
        elif kind == "remove":
            del message[place : place + draw(st.integers(1, 40))]
        elif kind == "giant":
            number = varint(draw(st.sampled_from(GIANT)))
            message[place : place + len(number)] = number
        elif kind == "double":
            message += message[place:]
    return bytes(message)


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


@thorough(200)
@given(damaged())
def test_damaged_alerts(message: bytes) -> None:
    decode_or_refuse(message)


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


@thorough(40)
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


FIELDS = ("diaSource", "snr", "visit", "psfFlux", "prvDiaSources", "f0", "f1", "a", "b")
LEAVES = [
    *("null", "boolean", "int", "long", "float", "double", "bytes", "string"),
    {"type": "long", "logicalType": "timestamp-micros"},
    {"type": "string", "logicalType": "uuid"},
    {"type": "bytes", "logicalType": "decimal", "precision": 9},
]


class MadeSchema:
    """A valid schema by chance: deep, wide, doubling, or containing itself."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.names: list[str] = []
        shape = rng.choice(("tree", "doubling", "wide"))
        if shape == "wide":
            kinds = [self.kind(1) for _ in range(rng.choice((5, 30, 300)))]
            names = [f"w{number}" for number in range(len(kinds))]
        else:
            kinds = [self.kind(rng.randint(1, 6)) for _ in range(rng.randint(1, 6))]
            if shape == "doubling":
                kinds = [self.doubling(rng.randint(2, 4), rng.randint(1, 30))]
            names = rng.sample(FIELDS, len(kinds))
        fields = [{"name": n, "type": kind} for n, kind in zip(names, kinds, strict=True)]
        self.schema = {"type": "record", "name": "made", "fields": fields}

    def name(self) -> str:
        self.names.append(f"n{len(self.names)}")
        return self.names[-1]

    def kind(self, levels: int) -> Any:
        rng = self.rng
        what = rng.choice(("leaf", "array", "map", "union", "record", "named", "enum", "fixed"))
        if levels == 0 or what == "leaf":
            return rng.choice(LEAVES)
        if what in ("array", "map"):
            return {"type": what, CONTENTS[what]: self.kind(levels - 1)}
        if what == "union":
            return ["null", *([self.kind(0)] if rng.random() < 0.5 else []), self.record(levels)]
        if what == "enum":
            return {"type": "enum", "name": self.name(), "symbols": ["A", "B"]}
        if what == "fixed":
            return {"type": "fixed", "name": self.name(), "size": rng.choice((0, 1, 8, 5000))}
        # What is not defined yet, or contains itself, is among them.
        return rng.choice(self.names) if what == "named" and self.names else self.record(levels)

    def record(self, levels: int) -> dict[str, Any]:
        name, names = self.name(), self.rng.sample(FIELDS, self.rng.randint(0, 5))
        fields = [{"name": each, "type": self.kind(levels - 1)} for each in names]
        return {"type": "record", "name": name, "fields": fields}

    def doubling(self, times: int, levels: int) -> Any:
        inner: Any = self.rng.choice(LEAVES)
        for _ in range(levels):
            again = inner["name"] if isinstance(inner, dict) and "name" in inner else inner
            kinds = [inner, *[again] * (times - 1)]
            names = self.rng.sample(FIELDS, times)
            fields = [{"name": n, "type": kind} for n, kind in zip(names, kinds, strict=True)]
            inner = {"type": "record", "name": self.name(), "fields": fields}
        return self.rng.choice((inner, array(inner), {"type": "map", "values": inner}))

    def bodies(self) -> Iterator[bytes]:
        """What the schema says, damaged or not, and the same bytes again and again."""
        rng = self.rng
        with suppress(SchemaError):
            root = tree(parsed(self.schema))
            body = b"".join(islice(self.encoded(root), 20_000))
            yield body
            yield body[: rng.randrange(len(body) + 1)]
            damaged = bytearray(body)
            for _ in range(rng.randint(1, 4) if body else 0):
                damaged[rng.randrange(len(body))] = rng.randrange(256)
            yield bytes(damaged)
        for _ in range(4):
            item = rng.choice((b"\0", b"\1", b"\2", b"\2\2", b"\4\0", rng.randbytes(5)))
            counts = b"".join(varint(rng.choice((0, 1, 2, 10**6, 2**62))) for _ in range(3))
            yield rng.choice((b"", counts)) + item * (
                10**6 if rng.random() < 0.01 else 10 ** rng.randint(0, 4)
            )

    def encoded(self, node: Type) -> Iterator[bytes]:
        rng = self.rng
        match node.kind:
            case "record":
                for each in node.inside:
                    yield from self.encoded(each)
            case "union":
                index = rng.randrange(len(node.inside))
                yield varint(index)
                yield from self.encoded(node.inside[index])
            case "array" | "map":
                count = rng.choice((0, 1, 2, 20))
                for _ in range(count):
                    yield varint(1) + (b"\2k" if node.kind == "map" else b"")
                    yield from self.encoded(node.inside[0])
                yield b"\0"
            case "fixed":
                yield bytes(node.schema["size"])
            case "enum":
                yield varint(rng.randrange(2))
            case "bytes" | "string":
                content = b"x" * rng.choice((0, 1, 36, 5000))
                yield varint(len(content)) + content
            case "float" | "double":
                yield rng.randbytes(4 if node.kind == "float" else 8)
            case "int" | "long" | "boolean":
                yield b"\1" if node.kind == "boolean" else varint(rng.getrandbits(30))


CONTENTS = {"array": "items", "map": "values"}


class Registered(Schemas):
    """One schema, with an id."""

    def __init__(self, schema: Any) -> None:
        super().__init__()
        self._schema = schema

    def by_id(self, schema_id: int) -> Any:
        return parsed(self._schema)


@thorough(60)
@given(st.integers(0, 2**64))
def test_made_schemas(seed: int) -> None:
    """Seven bodies each, in a container file, as it is or compressed, and by the schema's id."""
    made = MadeSchema(random.Random(seed))
    by_id = [AlertDecoder(Registered(made.schema), paths) for paths in (None, FILTERED)]
    for body in made.bodies():
        codec = made.rng.choice(("null", "null", *COMPRESS))
        packed = COMPRESS[codec](body) if codec in COMPRESS else body
        decode_or_refuse(carried(made.schema, packed, codec), (WHOLE, PARTS[0]))
        decode_or_refuse(pack(4242, body), by_id)


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
    "two fields of one name": (
        {"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}] * 2},
        b"\0\0",
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
