"""Lines of what a message may hold at most: no more than 2 s and 300 MB either."""

from __future__ import annotations

import resource
import time
from typing import Any

import pytest
from tests.support.hostile_messages import array, carried, items, record, wrapped

from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import varint
from alertstream.kafka.messages import Message
from alertstream.printing.lines import LineFormat
from alertstream.reading.decoder import AlertDecoder, ReceivedAlert

ESCAPES = b"\x1b" * 9_000_000
BRANCHES = [
    *({"type": "fixed", "name": f"x{n}", "size": 1} for n in range(15)),
    wrapped("int"),
]


@pytest.mark.hostile("1: lines of what may be decoded at most")
@pytest.mark.parametrize(
    ("form", "kind", "body"),
    [
        ("text", array("boolean"), items(1_000_000, b"\1")),
        ("json", array(BRANCHES), items(125_000, varint(15) + b"\2")),
        ("json", "string", varint(len(ESCAPES)) + ESCAPES),
    ],
    ids=["truths", "records of a union", "escape characters"],
)
def test_lines_of_as_much_as_may_be_decoded(form: str, kind: Any, body: bytes) -> None:
    message = Message("alerts", 0, 0, 1_000, None, carried(record(kind), body))
    lines = LineFormat(format=form, fields=("f0",) if form != "json" else ())
    alert = AlertDecoder(Schemas(), lines.paths()).decode(message)
    assert isinstance(alert, ReceivedAlert)
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    lines.alert_line(message, alert)
    assert time.process_time() - begin < 2
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 300
