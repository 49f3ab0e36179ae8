"""What an alert matched: said by filters, kept in a header of their copies, joined downstream."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from alertstream.alert.alert import Alert
from alertstream.alert.text import alert_text, match_lines
from alertstream.filtering.caps import VisitCaps
from alertstream.filtering.engine import FilterEngine
from alertstream.filtering.expression import WhereFilter
from alertstream.filtering.filters import AlertFilter, MirrorFilter
from alertstream.filtering.selection import Selection
from alertstream.kafka.messages import (
    MATCH,
    MAX_ADDED,
    MAX_MATCH,
    Copy,
    Message,
    encode_matches,
)
from alertstream.reading.decoder import ReceivedAlert

M31 = {"in": "targets.csv", "target": "M31", "separation": 0.42}
MAP = {"in": "bayestar.fits", "probability": 0.63}


class Says(AlertFilter):
    """Says what it is told to say, and passes."""

    def __init__(self, *said: Any, passes: bool | None = True, topic: str = "Says") -> None:
        self._said, self._passes, self._topic = said, passes, topic

    @property
    def topic(self) -> str:
        return self._topic

    def passes(self, alert: Alert) -> bool:
        alert.matches.extend(self._said)
        if self._passes is None:
            raise ValueError
        return self._passes


def received(header: bytes | None = None, *more: tuple[str, bytes | None]) -> ReceivedAlert:
    headers = ((MATCH, header), *more) if header is not None else more
    return ReceivedAlert({}, Message("alerts", 0, 0, 1, b"key", b"value", headers))


def copies_of(
    alert: ReceivedAlert, *filters: AlertFilter, limit: float = math.inf
) -> tuple[list[Copy], list[str]]:
    notices: list[str] = []
    names = [each.topic for each in filters]
    limits = {name: int(limit) for name in names} if limit < math.inf else {}
    caps = VisitCaps(names, 0)
    engine = FilterEngine(filters, caps, notices.append, limits=limits)
    (judged,) = engine.judge([alert])
    return [*engine.decide(judged).copies], notices


def said(copy: Copy) -> list[Any]:
    return [json.loads(content or b"") for name, content in copy.headers() if name == MATCH]


def test_each_copy_has_what_its_own_filter_has_said() -> None:
    alert = received(None, ("theirs", b"1"))
    copies, notices = copies_of(
        alert,
        Says(M31, passes=False, topic="A"),
        Says(topic="B"),
        Says(M31, MAP, topic="C"),
        Says(M31, passes=None, topic="D"),
        WhereFilter("match is not None", "E"),
        Says(MAP, topic="F"),
    )
    assert [(copy.topic, said(copy)) for copy in copies] == [
        ("B", []),
        ("C", [[M31, MAP]]),
        ("F", [[MAP]]),
    ]
    for copy in copies:
        assert copy.message[:6] == alert.message[:6]
        assert ("theirs", b"1") in copy.headers()
    assert copies[0].message is alert.message
    assert len(notices) == 1 and "D raised" in notices[0]


def test_the_list_grows_from_filter_to_filter() -> None:
    (first,), _ = copies_of(received(), Says(M31))
    for _ in range(2):
        again = ReceivedAlert({}, first.message)
        assert again.matches == [M31]
        (mirrored,), _ = copies_of(again, MirrorFilter("copy"))
        assert mirrored.message is first.message
    (second, same, chosen), _ = copies_of(
        ReceivedAlert({}, mirrored.message),
        Says(MAP),
        Says(topic="Same"),
        WhereFilter("len(match) == 1", "chosen"),
    )
    assert said(second) == [[M31, MAP]]
    assert said(same) == said(chosen) == [[M31]]


HOSTILE = [
    *(b"", b"\xff\xfe\x00", b"[", b"null", b'"text"', b"{}", b"1", b"[1, null, []]"),
    *(b"[" * 4096, b'[{"a":' * 600, b'[{"a": 1' + b"0" * 4090 + b"}]", b"[" + b" " * 1_000_000),
    *(b'[{"a": {"b": 1}}, {"a": [1]}]', b"\x00", b'{"in": "x"}', b"[1e999]"),
]


@pytest.mark.hostile("18.3: headers of strangers")
@pytest.mark.parametrize("header", HOSTILE)
def test_header_of_strangers_is_kept_and_means_nothing(header: bytes) -> None:
    alert = received(header)
    assert (alert.matches, alert.match) == ([], None)
    (kept, joined), notices = copies_of(received(header), MirrorFilter("copy"), Says(M31))
    assert (MATCH, header) in kept.headers()
    assert (said(joined), notices) == ([[M31]], [])


@pytest.mark.hostile("18.3: what users' filters append")
@pytest.mark.parametrize(
    "odd",
    [
        *("M31", 5, None, [M31], {"a": {"b": 1}}, {"a": (1, 2)}, {"a": math.nan}, {"a": {1}}),
        *({("a",): 1}, {"a": np.zeros(2)}, {"a": "\ud800"}, {"a": object()}),
    ],
)
def test_what_is_no_match_is_left_out_and_told(odd: Any) -> None:
    (copy,), (notice,) = copies_of(received(), Says(M31, odd))
    assert (copy.topic, said(copy)) == ("Says", [])
    assert notice.startswith("Says: what it appends to alert.matches is left out: ")
    assert "\n" not in notice


def test_numbers_of_numpy_and_any_text() -> None:
    match = {"target": "ζ Ret\n\x1b[2J", "n": np.float32(0.5), "i": np.int64(7), "ok": True}
    (copy,), _ = copies_of(received(), Says(match))
    assert said(copy) == [[match | {"n": 0.5, "i": 7}]]
    assert "ζ".encode() in (dict(copy.headers())[MATCH] or b"")


def test_header_is_bounded_and_counted() -> None:
    many = [{"target": f"{number:0100}"} for number in range(10_000)]
    (copy,), _ = copies_of(received(), Says(*many))
    content = dict(copy.headers())[MATCH] or b""
    assert MAX_MATCH - 120 < len(content) <= MAX_MATCH
    assert said(copy) == [many[-len(said(copy)[0]) :]]
    assert ReceivedAlert({}, copy.message).matches == said(copy)[0]
    assert copy.max_size >= len(content) + Copy("Says", received().message).max_size
    assert encode_matches([{"target": "x" * MAX_MATCH}]) == b""
    fits = Copy("Says", received().message).max_size
    (without,), notices = copies_of(received(), Says(*many), limit=fits + MAX_ADDED)
    assert (said(without), notices) == ([], [])


def test_selection_joins_what_all_filters_say() -> None:
    selection = Selection([[Says(M31), Says(MAP, M31, topic="B")], [Says(MAP, topic="C")]], print)
    alert = received(encode_matches([{"n": 1}]))
    assert selection.passes(alert)
    assert alert.matches == [{"n": 1}, M31, MAP]
    alert = received()
    assert not Selection([[Says(M31, passes=False)]], print).passes(alert)


def test_as_text() -> None:
    assert match_lines([M31, MAP, {"in": "region.fits"}, {"score": 0.9, "kind": "SN\x1b[2J"}]) == [
        "M31 in targets.csv, 0.42 arcsec",
        "bayestar.fits, probability 0.63",
        "region.fits",
        "score 0.9, kind SN\N{REPLACEMENT CHARACTER}[2J",
    ]
    huge = [{"separation": value} for value in (10**400, -1, math.nan, 2260)]
    assert match_lines(huge)[1:] == ["separation -1", "separation nan", "2260.00 arcsec"]
    odd: list[dict[str, Any]] = [
        {},
        {"in": None, "target": 5},
        {"separation": "far", "x": "y" * 999},
    ]
    assert [len(each) for each in match_lines(odd)] == [0, 1, 203]
    assert match_lines([M31] * 7)[5:] == ["and 2 more"]
    lines = alert_text(received(encode_matches([M31]))).split("\n")
    assert lines[1:] == ["  match  M31 in targets.csv, 0.42 arcsec"]
