"""Messages as lines: strict JSON, CSV that spreadsheets read, text that no terminal obeys."""

from __future__ import annotations

import csv
import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.hostile_text import COMMANDS

from alertstream.alert.alert import Alert
from alertstream.avro.wire import pack
from alertstream.errors import UndecodableError
from alertstream.kafka.messages import ORIGIN, REASON, Message
from alertstream.printing.lines import LineFormat

JSON, TEXT, CSV = (LineFormat(format=each) for each in ("json", "text", "csv"))
MESSAGE = Message("alerts", 2, 7, 1_000, None, pack(1000, b"body"))


def strict(line: str) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    return json.loads(line, parse_constant=refuse)


def test_json_is_strict_and_keeps_64_bits() -> None:
    number, time = 2**63 - 5, datetime(2026, 11, 24, 3, 4, 5, 678901, UTC)
    shown_time = "2026-11-24T03:04:05.678901+00:00"
    source = {"snr": math.nan, "psfFlux": -math.inf, "diaSourceId": number, "time": time}
    alert = Alert({"diaSource": source, "cutoutScience": bytes(34560)})
    shown = strict(JSON.alert_line(MESSAGE, alert))
    assert {key: shown[key] for key in shown if key != "alert"} == {
        **{"topic": "alerts", "partition": 2, "offset": 7},
        **{"timestamp": 1_000, "schema_id": 1000},
    }
    assert shown["alert"] == {
        "diaSource": {
            "snr": None,
            "psfFlux": None,
            "diaSourceId": number,
            "time": shown_time,
        },
        "cutoutScience": "<34560 bytes>",
    }
    images = LineFormat(format="json", images=True)
    assert strict(images.alert_line(MESSAGE, Alert({"a": b"\0\1"})))["alert"] == {"a": "AAE="}


def test_an_id_of_zero_is_none_in_every_format() -> None:
    alert = Alert({"diaSource": {"diaObjectId": 0, "ssObjectId": 0, "diaSourceId": 7}})
    fields = ("object_id", "ss_object_id")
    shown = {form: LineFormat(format=form, fields=fields) for form in ("json", "text", "csv")}
    lines = {form: each.alert_line(MESSAGE, alert) for form, each in shown.items()}
    assert strict(lines["json"])["alert"] == dict.fromkeys(fields)
    assert (lines["csv"], lines["text"]) == (",", "object_id=None  ss_object_id=None")
    assert LineFormat().alert_line(MESSAGE, alert).split()[:2] == ["7", "-"]


def test_chosen_fields_in_every_format() -> None:
    alert = Alert({"diaSource": {"band": "r", "snr": 7.5}, "prvDiaSources": [{"visit": 1}, {}]})
    fields = ("snr", "diaSource.band", "prvDiaSources.visit", "nothing")
    values = [7.5, "r", [1, None], None]
    shown = {form: LineFormat(format=form, fields=fields) for form in ("json", "text", "csv")}
    assert strict(shown["json"].alert_line(MESSAGE, alert))["alert"] == dict(
        zip(fields, values, strict=True)
    )
    line = "snr=7.5  diaSource.band=r  prvDiaSources.visit=[1, None]  nothing=None"
    assert shown["text"].alert_line(MESSAGE, alert) == line
    lines = [*shown["csv"].heading(), shown["csv"].alert_line(MESSAGE, alert)]
    assert list(csv.reader(lines)) == [[*fields], ["7.5", "r", "[1, null]", ""]]
    assert [shown[form].heading() for form in ("json", "text")] == [[], []]


@pytest.mark.parametrize("form", [TEXT, CSV])
def test_fields_of_unexpected_types_are_undecodable(form: LineFormat) -> None:
    alert = Alert({"diaSource": {"psfFlux": [1]}})
    with pytest.raises(UndecodableError, match="fields of unexpected types"):
        form.alert_line(MESSAGE, alert)
    assert strict(JSON.alert_line(MESSAGE, alert))["alert"] == alert


@pytest.mark.parametrize(
    "origin",
    [
        *(None, b"", b"\xff", b"{", b"[]", b"7", b"{}", b"[" * 50_000),
        b'{"topic": 1, "partition": 0, "offset": 0, "timestamp": 0}',
        b'{"topic": "x", "partition": 0, "offset": NaN, "timestamp": 0}',
    ],
)
@pytest.mark.parametrize("value", [b"x", None])
def test_headers_that_say_nothing(origin: bytes | None, value: bytes | None) -> None:
    headers = ((REASON, b"\x1b[2J\xff"), (ORIGIN, origin), ("theirs", None))
    message = Message("alerts", 0, 0, 0, b"k", value, headers)
    (line,) = JSON.undecodable_lines(message, "cut short")
    assert strict(line)["origin"] is None
    text = "".join(TEXT.undecodable_lines(message, "cut short"))
    assert "\x1b" not in text
    assert "from" not in text
    assert CSV.undecodable_lines(message, "cut short") == []


def test_origin_beyond_all_times_and_terminals() -> None:
    origin = {"topic": "\ud800\x1b[2J", "partition": 0, "offset": 2**70, "timestamp": 2**70}
    headers = ((ORIGIN, json.dumps(origin).encode()), (REASON, None))
    message = Message("alerts", 0, 0, 0, None, b"x", headers)
    (line,) = JSON.undecodable_lines(message, "no wire-format header")
    shown = strict(line)
    assert shown["origin"]["timestamp"] == 2**70
    assert shown["undecodable"] == "no wire-format header"
    text, content = TEXT.undecodable_lines(message, "no wire-format header")
    assert f"of {2**70} ms" in text
    assert text.isprintable()
    assert content == "    78"


@pytest.mark.hostile("12: text of an alert that commands a terminal, as text, JSON and CSV")
@pytest.mark.parametrize("form", [TEXT, CSV, JSON, LineFormat(fields=("objectId", "band"))])
def test_text_from_a_stream_commands_no_terminal(form: LineFormat) -> None:
    alert = Alert({"objectId": COMMANDS, "candid": 1, "candidate": {"band": COMMANDS}})
    line = form.alert_line(MESSAGE, alert)
    assert line.isprintable()
    assert line.isascii() or form is not JSON
    if form is JSON:
        assert strict(line)["alert"] == alert


@pytest.mark.hostile("12: cells of CSV that a spreadsheet would calculate; numbers stay numbers")
def test_cells_are_no_formulas() -> None:
    kept = ["-1.5", "+2e-7", "-7", "r", "a=b", "", "2026-11-24", "'=1", "-"]
    formulas = ["=1+1", '=HYPERLINK("http://evil")', "@SUM(A1)", "-1+2", "+inf", "＝1", "-1\n=2"]
    numbers = [-1.5, -3, 2.0e-7]
    values = [*kept, *formulas, *numbers]
    form = LineFormat(format="csv", fields=tuple(map(str, range(len(values)))))
    alert = Alert(dict(zip(form.fields, values, strict=True)))
    (cells,) = csv.reader([form.alert_line(MESSAGE, alert)])
    assert cells[: len(kept)] == kept
    quoted = cells[len(kept) :][: len(formulas)]
    assert quoted == [f"'{each}".replace("\n", "\N{REPLACEMENT CHARACTER}") for each in formulas]
    assert list(map(float, cells[len(kept) + len(formulas) :])) == numbers
