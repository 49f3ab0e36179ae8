"""What is different between schemas, and whether one can read the other's data."""

from __future__ import annotations

from io import BytesIO

import fastavro
import pytest
from tests.support.samples import body_of, official_schema, sample_alert
from tests.support.schema_pairs import PAIRS, schema

from alertstream.avro.evolution import differences, obstacles
from alertstream.avro.schemas import Schemas, parsed


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


def test_order_of_fields_is_a_difference() -> None:
    a, b = {"name": "a", "type": "int"}, {"name": "b", "type": "int"}
    assert differences(schema(a, b), schema(b, a)) == ["~ the fields are in a different order"]
