"""Inputs for the decoder by three generators, and what must hold for each of them.

``mutated`` are real alerts, damaged; ``generated`` have a schema by hypothesis and a body
written by it, as it is and damaged; ``compressed`` are both in compressed blocks.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import fastavro
from hypothesis import strategies as st
from tests.support.hostile_messages import COMPRESS, carried
from tests.support.made_schemas import Writer, schemas
from tests.support.samples import body_of, sample_alert, schema_id

from alertstream.alert.surveys import field_paths
from alertstream.avro.schema_tree import ITEMS, VALUES, fields_below, tree
from alertstream.avro.schemas import Schemas, parsed
from alertstream.avro.wire import pack, varint
from alertstream.errors import SchemaError, UndecodableError
from alertstream.reading.decoder import AlertDecoder
from alertstream.sending.visits.encoders import container_encoder

BODIES_EACH = 5
"""Bodies that are right for each schema."""
MAX_SECONDS = 2.0
MAX_MEGABYTES = 300
SCHEMA_ID = 4242
GIANT = [2**31 - 1, 2**31, 2**62, 2**63 - 1, -1, -2, -(2**31), -(2**63)]
VERSIONS = ("3.0", "6.0", "7.4", "10.0", "11.1")
FILTERED = sorted(field_paths(["visit", "snr", "flux"]))
WHOLE = AlertDecoder(Schemas())
IN_PART = AlertDecoder(Schemas(), FILTERED)
IMAGES = ("cutoutDifference", "cutoutScience", "cutoutTemplate")
BODIES = {
    version: body_of(
        sample_alert(version) | dict.fromkeys(IMAGES, b"SIMPLE  =" + bytes(500)), version
    )
    for version in VERSIONS
}
MESSAGES = [
    made
    for version, body in BODIES.items()
    for made in (
        pack(schema_id(version), body),
        b"".join(container_encoder(Schemas().by_id(schema_id(version)))(body)),
    )
]


@dataclass
class Tally:
    """What has come of the inputs of each generator."""

    inputs: Counter[str] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def add(self, other: Tally) -> None:
        self.inputs += other.inputs
        self.alerts += other.alerts
        self.refused += other.refused
        self.slowest = max(self.slowest, other.slowest)

    def decoded(self, decoder: AlertDecoder, message: bytes | None) -> dict[str, Any] | str:
        """What an input decodes to, or why it does not."""
        begin = time.process_time()
        found: dict[str, Any] | str
        try:
            found = decoder.fields_of(message)
        except UndecodableError as error:
            found = error.what
            assert len(found) < 500
        seconds = time.process_time() - begin
        self.slowest = max(self.slowest, seconds)
        assert seconds < MAX_SECONDS
        return found

    def check(
        self,
        generator: str,
        message: bytes,
        decoders: tuple[AlertDecoder, AlertDecoder] = (WHOLE, IN_PART),
        right: str | None = None,
        paths: Collection[str] = (),
    ) -> None:
        """Decode an input whole and in part, or see it refused.

        :param right: what must come out of it, if it is known; ``paths`` are then the same in both.
        """
        whole, part = (self.decoded(each, message) for each in decoders)
        self.inputs[generator] += 1
        if isinstance(whole, str):
            self.refused[whole] += 1
            assert right is None or whole in BOUNDS, whole
            return
        self.alerts[generator] += 1
        if right is None:
            # What is damaged may have two readings: what is skipped may say how many bytes it has.
            return
        assert repr(whole) == right
        assert isinstance(part, dict), part
        for path in paths:
            names = path.split(".")
            assert repr(values_at(part, names)) == repr(values_at(whole, names))


DAMAGE = (*["flip"] * 8, "cut", "insert", "remove", "giant", "double")


def values_at(value: Any, path: list[str]) -> Any:
    """What is at a path; of arrays on its way, each item's, unless no item has any."""
    if isinstance(value, list) and path:
        found = [values_at(each, path) for each in value]
        return found if any(each is not None for each in found) else None
    if not path or value is None:
        return value
    return values_at(value.get(path[0]), path[1:]) if isinstance(value, dict) else None


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real message damaged in one to four places."""
    message = bytearray(draw(st.sampled_from(MESSAGES)))
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 4)))):
        # Half of the damage is where lengths and counts are: in the first and last kilobyte.
        place = draw(st.integers(0, len(message)) | st.integers(0, 1000) | st.integers(-1000, -1))
        kind = draw(st.sampled_from(DAMAGE))
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


@dataclass
class Made:
    """A schema, a field of it, and bodies that are right by it with the alerts that they are.

    There are none for a schema that is refused.
    """

    schema: dict[str, Any]
    rng: random.Random
    right: list[tuple[bytes, str]]
    paths: list[str]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # What hypothesis shows of a failure; bodies may be megabytes.
        printer.text(f"Made({self.schema!r}, paths={self.paths})")

    def decoders(self, schemas: Schemas) -> tuple[AlertDecoder, AlertDecoder]:
        """Those of whole alerts, and of a field of them."""
        return AlertDecoder(schemas), AlertDecoder(schemas, self.paths)

    def damaged(self) -> Iterator[bytes]:
        """Bodies that are wrong, more or less, and what they are made of again and again."""
        rng = self.rng
        bodies = [body for body, _ in self.right] or [rng.randbytes(20), b"\2" * 50]
        for body in bodies:
            yield body[: rng.randrange(len(body) + 1)]
            yield flipped(body, rng)
        place = rng.randrange(len(body) + 1)
        yield body[:place] + varint(rng.choice(GIANT)) + body[place:]
        item = rng.choice((b"\0", b"\1", b"\2", b"\2\2", b"\4\0", rng.randbytes(5)))
        counts = b"".join(varint(rng.choice((0, 1, 2, 10**6, 2**62))) for _ in range(3))
        yield rng.choice((b"", counts)) + item * 10 ** rng.choice((0, 1, 2, 3, 3, 4, 5))


@st.composite
def made(draw: st.DrawFn) -> Made:
    """A schema with a few bodies."""
    schema, rng = draw(schemas()), random.Random(draw(st.integers(0, 2**64)))
    try:
        root = tree(parsed(schema))
    except SchemaError:
        return Made(schema, rng, [], [])
    plain = fastavro.parse_schema(without_decimals(schema))
    right = []
    for _ in range(BODIES_EACH):
        body = Writer(rng).body(root)
        right.append((body, repr(fastavro.schemaless_reader(BytesIO(body), plain, None))))
    paths = [path for path, _ in fields_below(root) if VALUES not in path]
    chosen = [".".join(each for each in path if each != ITEMS) for path in rng.sample(paths, 1)]
    return Made(schema, rng, right, chosen)


def without_decimals(schema: Any) -> Any:
    """A schema by which decimal numbers are bytes, as they are to alertstream."""
    if isinstance(schema, list):
        return [without_decimals(each) for each in schema]
    if isinstance(schema, dict):
        decimal = schema.get("logicalType") == "decimal"
        return {k: without_decimals(v) for k, v in schema.items() if not decimal or k == "type"}
    return schema


class Registered(Schemas):
    """One schema, with an id."""

    def __init__(self, schema: Any) -> None:
        super().__init__()
        self._schema = schema

    def by_id(self, schema_id: int) -> Any:
        return parsed(self._schema)


def check_generated(made: Made, tally: Tally) -> None:
    """By its id or in a message of its own, an alert is to us what it is to fastavro."""
    by_id = made.decoders(Registered(made.schema))
    carrying = made.decoders(Schemas())
    for body, alert in made.right:
        tally.check("generated", pack(SCHEMA_ID, body), by_id, alert, made.paths)
        tally.check("generated", carried(made.schema, body), carrying, alert, made.paths)
    for body in made.damaged():
        tally.check("generated", carried(made.schema, body), carrying)


def check_compressed(made: Made, tally: Tally) -> None:
    """The same in compressed blocks, damaged before or after they were compressed."""
    rng, carrying = made.rng, made.decoders(Schemas())
    for body, alert in made.right:
        codec = rng.choice(CODECS)
        packed = COMPRESS[codec](body)
        message = carried(made.schema, packed, codec)
        tally.check("compressed", message, carrying, alert, made.paths)
        tally.check("compressed", carried(made.schema, flipped(packed, rng), codec), carrying)
    for body in made.damaged():
        codec = rng.choice(CODECS)
        tally.check("compressed", carried(made.schema, COMPRESS[codec](body), codec), carrying)


def flipped(content: bytes, rng: random.Random) -> bytes:
    """Content with up to three bits that are not what they were."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3) if content else 0):
        changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def check_mutated(messages: list[bytes], tally: Tally) -> None:
    """Real alerts with damage."""
    for message in messages:
        tally.check("mutated", message)


BOUNDS = ("more values than an alert may have",)
"""Why what is right may be refused."""
CODECS = [*COMPRESS, "deflate", "deflate", "snappy", "snappy"]
GENERATORS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any, Tally], None]]] = {
    "mutated": (st.lists(damaged(), min_size=20, max_size=20), check_mutated),
    "generated": (made(), check_generated),
    "compressed": (made(), check_compressed),
}
"""Each makes 20 inputs at a time."""
