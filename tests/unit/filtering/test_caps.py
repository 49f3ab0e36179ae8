"""Caps: what is claimed first of a visit passes, whoever has claimed it."""

from __future__ import annotations

import json

import pytest

from alertstream.filtering import caps as caps_module
from alertstream.filtering.caps import (
    MAX_VISITS,
    NOT_VALID,
    OTHERS,
    Claim,
    VisitCaps,
    bits,
    claims_start,
    source_key,
    visit_or_minute,
)
from alertstream.filtering.shared_caps import caps_topic


def claim(
    offset: int,
    filters: int = 1,
    visit: int | str = 7,
    partition: int = 0,
    source: int | str | None = None,
) -> Claim:
    return Claim(visit, "alerts", partition, offset, filters, source)


def granted(caps: VisitCaps, each: Claim) -> int:
    return 0 if caps.is_duplicate(each) else caps.granted(each)


def test_the_first_of_a_visit_pass_by_filter() -> None:
    caps = VisitCaps(["One", "Other"], 2)
    claims = [
        claim(1, 0b01),
        claim(2, 0b11),
        claim(3, 0b11),
        claim(4, 0b11),
        claim(5, 0b11, "minute 3"),
    ]
    caps.apply(claims)
    assert [granted(caps, each) for each in claims] == [0b01, 0b11, 0b10, 0, 0b11]
    assert caps.full(7) == 0b11 and caps.full("minute 3") == 0 and caps.full(8) == 0


def test_a_claim_that_is_made_again_keeps_its_place_and_takes_no_other() -> None:
    caps = VisitCaps(["One"], 2)
    for _ in range(5):
        caps.apply([claim(1), claim(1, partition=3)])
    assert granted(caps, claim(1)) and granted(caps, claim(1, partition=3))
    caps.apply([claim(2)])
    assert not granted(caps, claim(2)) and granted(caps, claim(1))


def test_without_a_cap_all_pass() -> None:
    caps = VisitCaps(["One", "Other"], 0)
    assert granted(caps, claim(1, 0b11)) == 0b11 and caps.full(7) == 0
    assert caps.as_metadata() == {}


def test_all_who_read_the_log_agree() -> None:
    log = [[claim(offset, 0b11, partition=member) for offset in range(3)] for member in (0, 1, 2)]
    readers = [VisitCaps(["One", "Other"], 5) for _ in log]
    for reader in readers:
        for at, claims in enumerate(log):
            reader.apply(reader.decode(reader.encode(claims)), at)
    found = [[granted(reader, each) for claims in log for each in claims] for reader in readers]
    assert found[0] == found[1] == found[2] == [0b11] * 5 + [0] * 4


def test_old_visits_are_forgotten_but_not_while_they_are_decided() -> None:
    caps = VisitCaps(["One"], 1)
    claims = [claim(visit, visit=visit) for visit in range(2 * MAX_VISITS)]
    for at, each in enumerate(claims):
        caps.apply([each], at)
    assert all(granted(caps, each) for each in claims) and caps.since == 0
    caps.forget_old()
    assert [bool(granted(caps, each)) for each in claims] == [
        *[False] * MAX_VISITS,
        *[True] * MAX_VISITS,
    ]
    assert caps.since == MAX_VISITS


def test_many_alerts_of_few_visits_are_forgotten_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alertstream.filtering.caps.MAX_ALERTS", 10)
    caps = VisitCaps(["One"], 100)
    for visit in range(4):
        caps.apply([claim(offset, visit=visit) for offset in range(8)], visit)
        caps.forget_old()
    assert [caps.granted(claim(0, visit=visit)) for visit in range(4)] == [0, 0, 0, 1]
    assert caps.since == 3


def test_where_claims_begin_is_kept_with_offsets() -> None:
    caps = VisitCaps(["One"], 1)
    caps.begin(40, "one")
    assert claims_start(json.dumps(caps.as_metadata())) == (40, "one")
    caps.apply([], 40)
    assert claims_start(json.dumps(caps.as_metadata())) == (41, "one")
    caps.apply([claim(1)], 41)
    caps.apply([claim(2, visit=8)], 42)
    assert claims_start(json.dumps(caps.as_metadata())) == (41, "one")


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "[]", "{}", "\x00", '{"visit_caps":null}', '{"visit_caps":"x"}', "x" * 5000),
        *('{"visit_caps":1e999,"log":""}', '{"visit_caps":-1,"log":""}', "[" * 100_000),
    ],
)
def test_what_others_keep_with_offsets_is_no_begin(text: str) -> None:
    assert claims_start(text) is None


@pytest.mark.parametrize(
    "value",
    [
        VisitCaps(["One"], 1, unique=True).encode([claim(1)]),
        VisitCaps(["One"], 2).encode([claim(1)]),
        # As it was when a group was made for each set of filters.
        b'{"filters":"0123abcd","claims":[[7,"alerts",0,1,"1"]]}',
    ],
)
def test_claims_of_others_do_not_count(value: bytes) -> None:
    with pytest.raises(ValueError, match=OTHERS):
        VisitCaps(["One"], 1).decode(value)


def test_claims_of_filters_that_are_left_count_when_a_groups_filters_change() -> None:
    before, after = VisitCaps(["One", "Gone", "Other"], 2), VisitCaps(["New", "Other", "One"], 2)
    claims = [claim(1, 0b101), claim(2, 0b010), claim(3, 0b001)]
    kept = after.decode(before.encode(claims))
    assert kept == [claim(1, 0b110), claim(3, 0b100)]
    after.apply([*kept, claim(4, 0b111)])
    assert granted(after, claim(4, 0b111)) == 0b011


NO_CLAIMS = [b"", b"null", b"[]", b"{}", b"\x00\xff", b'{"filters": 1}', b"[" * 100_000]
NO_PLACES: list[object] = [
    *([[7, "alerts", 0, 1]], [[]], [7], 7, [[7, "a", 0, 1, "xyz"]]),
    # No visit, not a topic, and filters that there are not.
    *([[[], "t", 0, 0, "1"]], [[{}, "t", 0, 0, "1"]], [[None, "t", 0, 0, "1"]]),
    *([[7, [], 0, 0, "1"]], [[7, "t", 0.5, 0, "1"]], [[7, "t", 0, {}, "1"]]),
    *([[7, "t", 0, 0, "-1"]], [[7, "t", 0, 0, "0"]], [[7, "t", 0, 0, "f" * 5000]]),
]


@pytest.mark.hostile("3: malformed claims in the caps' topic")
@pytest.mark.parametrize("value", [*NO_CLAIMS, *NO_PLACES])
def test_damaged_claims_do_not_count(value: object) -> None:
    caps = VisitCaps(["One"], 1)
    if not isinstance(value, bytes):
        value = json.dumps(json.loads(caps.encode([])) | {"claims": value}).encode()
    with pytest.raises(ValueError, match=NOT_VALID):
        caps.decode(value)


@pytest.mark.hostile("14: alerts that name no visit, after their cap was reached")
def test_alerts_without_a_visit_share_a_cap_for_a_minute() -> None:
    caps = VisitCaps(["One"], 1)
    times = [0, 59_999, 60_000, 119_999, 120_000]
    visits = [visit_or_minute(None, time) for time in times]
    claims = [claim(n, visit=visit) for n, visit in enumerate(visits)]
    caps.apply(caps.decode(caps.encode(claims)))
    assert [granted(caps, each) for each in claims] == [1, 0, 1, 0, 1]
    assert visit_or_minute(7, 60_000) == 7


@pytest.mark.parametrize("cap", [0, 5])
def test_of_alerts_with_one_source_id_the_first_in_the_log_passes(cap: int) -> None:
    caps = VisitCaps(["One", "Other"], cap, unique=True)
    claims = [claim(1, 0b11, source=70), claim(2, source=71), claim(3, 0b10, source=70)]
    claims += [claim(4, partition=3, source=71), claim(5), claim(6), claim(7, source="a name")]
    log = caps.encode(claims)
    for _ in range(3):
        # Who reads them again has them in their places.
        caps.apply(caps.decode(log))
        assert [granted(caps, each) for each in claims] == [0b11, 1, 0, 0, 1, 1, 1]
    assert caps.is_duplicate(claim(1, partition=1, source=70))
    assert caps.is_duplicate(claim(9, visit=8, source="a name"))
    assert caps.open(claim(1, 0b11, source=70)) == 0
    assert caps.open(claim(9, 0b11, visit=8, source=99)) == 0b11
    caps.begin(0)
    assert not caps.is_duplicate(claim(3, source=70))


def test_what_is_capped_has_not_passed() -> None:
    caps = VisitCaps(["One"], 1, unique=True)
    claims = [claim(1, source=70), claim(2, source=71), claim(3, source=71)]
    caps.apply(claims)
    assert [granted(caps, each) for each in claims] == [1, 0, 0]
    assert [caps.is_duplicate(each) for each in claims] == [False] * 3
    # In its next visit, it would.
    assert caps.open(claim(4, visit=8, source=71)) == 1


def test_source_ids_are_forgotten_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps_module, "MAX_SOURCE_IDS", 10)
    caps = VisitCaps(["One"], 0, unique=True)
    assert caps.since == 0
    for number in range(1, 100):
        caps.apply([claim(number, source=number)], at=number)
        kept = [each for each in range(1, 100) if caps.is_duplicate(claim(0, source=each))]
        assert kept == [*range(max(kept[0], 1), number + 1)]
        assert min(number, 5) <= len(kept) <= 10
        # What is kept is what a member that starts reads.
        assert caps.since == kept[0]
    assert claims_start(json.dumps(caps.as_metadata())) == (91, "")


def test_what_a_source_id_may_be() -> None:
    ids: list[object] = [1, 2**63 - 1, -5, "ZTF1", None, 0, "", 1.5, [1], {}, b"x"]
    assert [source_key(each) for each in ids] == [*ids[:4], *[None] * 7]
    assert source_key("x" * 10**6) != source_key("x" * 10**6 + "y")
    assert len(str(source_key("\ud800" * 10**6))) == 64


def test_claims_are_short() -> None:
    hundred = VisitCaps([f"Filter{number:03}" for number in range(100)], 20)
    claims = [claim(10**9 + n, 2**100 - 1, 2_026_112_500_000, 3) for n in range(20)]
    value = hundred.encode(claims)
    assert hundred.decode(value) == claims and len(value) < 2100


def test_bits() -> None:
    assert list(bits(0)) == [] and list(bits(0b1011)) == [0, 1, 3]
    assert list(bits(1 << 250 | 1)) == [0, 250]


def test_every_group_has_a_topic_for_its_claims() -> None:
    assert caps_topic("filter-alerts") == "filter-alerts-visit-caps"
    odd = [caps_topic(group) for group in ("ä b/c", "x" * 300, "y" * 300)]
    assert len({*odd}) == 3
    assert all(name.isascii() and len(name) < 50 and name.endswith("-visit-caps") for name in odd)
