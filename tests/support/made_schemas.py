"""Schemas by hypothesis: trees of all that Avro has, doubling, wide, and containing themselves."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from tests.support.hostile_messages import array

from alertstream.avro.schema_tree import Type
from alertstream.avro.wire import varint

FIELDS = ("diaSource", "snr", "visit", "psfFlux", "prvDiaSources", "f0", "f1", "a", "b")
LEAVES = [
    *("null", "boolean", "int", "long", "float", "double", "bytes", "string"),
    *({"type": "long", "logicalType": f"timestamp-{unit}"} for unit in ("millis", "micros")),
    {"type": "int", "logicalType": "date"},
    {"type": "string", "logicalType": "uuid"},
    {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
]
SHAPES = (*["tree"] * 4, *["doubling"] * 2, "wide", "recursive")
CONTENTS = {"array": "items", "map": "values"}


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    """A schema that is valid Avro."""
    known: list[str] = []
    shape = draw(st.sampled_from(SHAPES))
    if shape == "wide":
        kinds = [_kind(draw, 2, known) for _ in range(draw(st.integers(2, 6)))]
        again = [*LEAVES, *known]
        kinds += [again[n % len(again)] for n in range(draw(st.sampled_from((30, 100, 300))))]
    elif shape == "doubling":
        times = draw(st.integers(2, 3))
        kinds = [_doubling(draw, times, draw(st.integers(1, 20 // times)), known), "int"]
    elif shape == "recursive":
        inner = draw(st.sampled_from(("made", ["null", "made"], array("made"))))
        kinds = [_kind(draw, 3, known), inner]
    else:
        kinds = [_kind(draw, 4, known) for _ in range(draw(st.integers(1, 6)))]
    names = [*draw(st.permutations(FIELDS)), *(f"w{number}" for number in range(len(kinds)))]
    return {"type": "record", "name": "made", "fields": _fields(names, kinds)}


def _fields(names: list[str], kinds: list[Any]) -> list[Any]:
    return [{"name": n, "type": kind} for n, kind in zip(names, kinds, strict=False)]


def _kind(draw: st.DrawFn, levels: int, known: list[str], branch: bool = False) -> Any:
    """A type; ``known`` are the names that are defined so far."""
    kinds = ["array", "map", "record", "record", *([] if branch else ["union"] * 2)]
    kinds += ["leaf", "enum", "fixed", *(["named"] if known else [])]
    what = draw(st.sampled_from(kinds)) if levels else "leaf"
    if what == "leaf":
        return draw(st.sampled_from(LEAVES))
    if what == "named":
        return draw(st.sampled_from(known))
    if what in CONTENTS:
        return {"type": what, CONTENTS[what]: _kind(draw, levels - 1, known)}
    if what == "union":
        return _union(draw, levels, known)
    made: dict[str, Any] = {"type": what}
    if what == "enum":
        made["symbols"] = ["A", "B", "C"][: draw(st.integers(1, 3))]
    elif what == "fixed":
        made["size"] = draw(st.sampled_from((1, 2, 8, 5000)))
    else:
        names = draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=5, unique=True))
        made["fields"] = _fields(names, [_kind(draw, levels - 1, known) for _ in names])
    known.append(f"n{len(known)}")
    return made | {"name": known[-1]}


def _union(draw: st.DrawFn, levels: int, known: list[str]) -> list[Any]:
    branches: dict[str, Any] = {"null": "null"}
    for _ in range(draw(st.integers(1, 3))):
        before = len(known)
        made = _kind(draw, levels - 1, known, branch=True)
        name = made if isinstance(made, str) else made.get("name", made["type"])
        if name in branches:
            del known[before:]
        else:
            branches[name] = made
    return [*branches.values()]


def _doubling(draw: st.DrawFn, times: int, levels: int, known: list[str]) -> Any:
    inner: Any = draw(st.sampled_from(LEAVES))
    for _ in range(levels):
        again = known[-1] if known else inner
        known.append(f"n{len(known)}")
        fields = _fields([*FIELDS], [inner, *[again] * (times - 1)])
        inner = {"type": "record", "name": known[-1], "fields": fields}
    return draw(st.sampled_from((inner, array(inner), {"type": "map", "values": inner})))


class Writer:
    """Writes bodies by a schema, by chance; after ``left`` values, arrays and texts are short."""

    def __init__(self, rng: random.Random, left: int = 400) -> None:
        self.rng = rng
        self.left = left

    def body(self, node: Type) -> bytes:
        return b"".join(self._written(node))

    def _written(self, node: Type) -> Iterator[bytes]:
        rng = self.rng
        self.left -= 1
        match node.kind:
            case "record":
                for each in node.inside:
                    yield from self._written(each)
            case "union":
                index = rng.randrange(len(node.inside))
                yield varint(index)
                yield from self._written(node.inside[index])
            case "array" | "map":
                count = min(rng.choice((0, 1, 2, 20)), max(self.left, 0))
                # A block may say how many bytes it has, and there may be several.
                items = [b"".join(self._item(node, key)) for key in range(count)]
                size = sum(map(len, items))
                start = rng.choice((varint(count), varint(-count) + varint(size))) if count else b""
                yield start + b"".join(items) + b"\0"
            case "fixed":
                yield rng.randbytes(node.schema["size"])
            case "enum":
                yield varint(rng.randrange(len(node.schema["symbols"])))
            case _:
                is_logical = isinstance(node.schema, dict) and "logicalType" in node.schema
                yield self._leaf(node.kind, is_logical)

    def _item(self, node: Type, key: int) -> Iterator[bytes]:
        if node.kind == "map":
            yield sized(str(key).encode())
        yield from self._written(node.inside[0])

    def _leaf(self, kind: str, is_logical: bool) -> bytes:
        rng = self.rng
        match kind:
            case "boolean":
                return bytes([rng.randrange(2)])
            case "int":
                return varint(rng.randint(-9999, 9999) if is_logical else rng.getrandbits(31))
            case "long":
                return varint(rng.getrandbits(40) if is_logical else -rng.getrandbits(63))
            case "float" | "double":
                return rng.randbytes(4 if kind == "float" else 8)
            case "bytes":
                return sized(rng.randbytes(rng.choice((0, 1, 5000 if self.left > 0 else 2))))
            case "string" if is_logical:
                return sized(str(uuid.UUID(int=rng.getrandbits(128))).encode())
            case "string":
                return sized(b"x" * rng.choice((0, 7, 500 if self.left > 0 else 8)))
        return b""


def sized(content: bytes) -> bytes:
    return varint(len(content)) + content
