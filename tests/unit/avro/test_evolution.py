"""What is different between schemas, and whether one can read the other's data."""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO

import fastavro
import pytest
from tests.support.hostile_messages import doubling
from tests.support.samples import body_of, official_schema, sample_alert
from tests.support.schema_pairs import PAIRS, schema

from alertstream.avro.evolution import differences, obstacles
from alertstream.avro.schemas import Schema, Schemas, parsed
from alertstream.errors import SchemaError


@pytest.mark.parametrize("name", PAIRS)
def test_why_old_readers_cannot_read(name: str) -> None:
    new, old, why = PAIRS[name]
    found = obstacles(parsed(new), parsed(old))
    assert [why in line for line in found] == ([] if why is None else [True]), found


@pytest.mark.parametrize(
    ("new", "old"), [("7.4", "7.1"), ("10.0", "9.0"), ("10.0", "8.0"), ("11.0", "10.0")]
)
def test_verdicts_are_those_of_fastavro(new: str, old: str) -> None:
    body = BytesIO(body_of(sample_alert(new), new))
    try:
        fastavro.schemaless_reader(body, official_schema(new), official_schema(old))
    except fastavro.read.SchemaResolutionError:
        readable = False
    else:
        readable = True
    schemas = Schemas()
    numbers = [int(each.replace(".", "0")) for each in (new, old)]
    assert (not obstacles(*map(schemas.by_id, numbers))) is readable


@pytest.mark.hostile("16: schemas of 28 doublings are compared")
@pytest.mark.parametrize("compare", [differences, obstacles])
def test_schemas_that_double(compare: Callable[[Schema, Schema], list[str]]) -> None:
    with pytest.raises(SchemaError, match="a schema of too many types"):
        compare(parsed(doubling(28, "int")), parsed(doubling(28, "string")))
    begin = time.process_time()
    assert compare(parsed(doubling(12, "int")), parsed(doubling(12, "string")))
    assert time.process_time() - begin < 2


def test_order_of_fields_is_a_difference() -> None:
    a, b = {"name": "a", "type": "int"}, {"name": "b", "type": "int"}
    assert differences(schema(a, b), schema(b, a)) == ["~ the fields are in a different order"]
