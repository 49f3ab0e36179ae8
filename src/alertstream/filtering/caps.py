"""Caps: which alerts of a visit a filter lets through, decided by the group's claims.

Before a member lets alerts through, it claims them in a log that all members share. The first
``cap`` claims of a visit are granted, no matter which member made them. A claim names the alert by
its offset, so it stays valid when the alert is read again, after a crash or by another member: the
cap is not exceeded, and no place in it is lost.

Duplicates are decided in the same way: of alerts with the same source id, the first that is granted
passes.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import islice
from types import NoneType
from typing import Any, NamedTuple

MAX_VISITS = 500
"""Visits whose claims are kept; members further apart do not share a cap."""
MAX_ALERTS = 100_000
"""Granted alerts that are kept, except the last visit's; only large caps reach this bound."""
MAX_SOURCE_IDS = 1_000_000
"""Source ids of the latest alerts that passed; between half as many and this many are kept."""
KEY_LENGTH = 6
"""Characters of a filter's key: among 500 filters, two collide once in 500,000 times."""
MAX_SOURCE_ID = 64
"""Characters of a source id that is text; what is longer is kept as its digest."""
OTHERS = "what was claimed with another --cap or --unique does not count"
NOT_VALID = "a claim is not valid, and does not count"


Source = int | str | None
"""An alert's source id, if it shall pass once; None if it has none: see :func:`source_key`."""
Visit = int | str
"""What a cap counts by: see :func:`visit_or_minute`."""


def visit_or_minute(visit: int | None, timestamp: int) -> Visit:
    """Return an alert's visit or, if it names none, the minute of its timestamp (ms).

    Both are the same for all members and when read again; and minutes let a reached cap end.
    """
    return f"minute {timestamp // 60_000}" if visit is None else visit


def source_key(source: object) -> Source:
    """Return a source id in a short form, whatever its type; null and 0 are none."""
    if isinstance(source, str) and len(source) > MAX_SOURCE_ID:
        return sha256(source.encode(errors="surrogatepass")).hexdigest()
    return source if isinstance(source, int | str) and source else None


class Claim(NamedTuple):
    """An alert that filters want to let through: bit 0 of ``filters`` is the first one's."""

    visit: Visit
    topic: str
    partition: int
    offset: int
    filters: int
    source: Source = None


class SourceIds:
    """The places of the latest alerts that passed, by source id.

    Ids are forgotten by halves of ``MAX_SOURCE_IDS``; each takes about 115 bytes.
    """

    def __init__(self) -> None:
        self._partitions: dict[tuple[str, int], int] = {}
        self.clear()

    def clear(self) -> None:
        """Forget all of them."""
        self._older: dict[int | str, int] = {}
        self._newer: dict[int | str, int] = {}
        self._begins = (0, 0)

    @property
    def since(self) -> int | None:
        """The offset in the log of the first claim that is kept; None if there is none."""
        return self._begins[not self._older] if self._newer else None

    def place(self, source: int | str) -> int | None:
        """Return the place of the alert that passed with a source id, as a number."""
        return self._newer.get(source) or self._older.get(source)

    def place_of(self, claim: Claim) -> int:
        """Return the place of a claim's alert as a unique number."""
        number = self._partitions.setdefault(claim[1:3], len(self._partitions) + 1)
        return number << 64 | claim.offset

    def add(self, claim: Claim, at: int) -> None:
        """Remember a granted claim, by its offset in the log."""
        assert claim.source is not None
        if self.place(claim.source) is not None:
            return
        if len(self._newer) >= MAX_SOURCE_IDS // 2:
            self._older, self._newer = self._newer, {}
        if not self._newer:
            self._begins = (self._begins[1], at)
        self._newer[claim.source] = self.place_of(claim)


@dataclass
class _Visit:
    """What is claimed of one visit: counts by filter, and for which filters an alert is granted.

    :param begin: offset of its first claim in the log.
    :param full: bits of the filters whose cap is reached.
    """

    begin: int
    counts: list[int]
    full: int = 0
    granted: dict[tuple[str, int, int], int] = field(default_factory=dict)


class VisitCaps:
    """Which alerts the filters let through, by the claims in the log.

    :param topics: the filters' output topics.
    :param cap: alerts per visit and filter; 0 is no limit.
    :param unique: whether of alerts with the same source id only one passes.
    """

    def __init__(self, topics: Sequence[str], cap: int, *, unique: bool = False) -> None:
        self.cap = cap
        self.unique = unique
        self._topics = topics
        self.keys = [filter_key(each) for each in topics]
        """Each filter's short key in what a group stores."""
        self._bits_by_keys: dict[str, list[int]] = {}
        self._source_ids = SourceIds()
        self._visits: dict[Visit, _Visit] = {}
        self._alerts = 0
        self._next = 0
        self._log_id = ""

    def full(self, visit: Visit) -> int:
        """Return the bits of the filters whose cap is reached for a visit."""
        claimed = self._visits.get(visit)
        return claimed.full if claimed else 0

    @property
    def are_shared(self) -> bool:
        """Whether there is anything to claim."""
        return self.cap > 0 or self.unique

    def is_duplicate(self, claim: Claim) -> bool:
        """Return whether another alert with the same source id has passed before."""
        if claim.source is None:
            return False
        passed = self._source_ids.place(claim.source)
        return passed is not None and passed != self._source_ids.place_of(claim)

    def granted(self, claim: Claim) -> int:
        """Return the bits of the filters for which a claim is granted, unless it is a duplicate."""
        if self.cap == 0:
            return claim.filters
        claimed = self._visits.get(claim.visit)
        return claim.filters & claimed.granted.get(claim[1:4], 0) if claimed else 0

    def open(self, claim: Claim) -> int:
        """Return the bits of the filters whose grants are not decided yet."""
        if self.cap == 0:
            known = claim.source is None or self._source_ids.place(claim.source) is not None
            return 0 if known else claim.filters
        return claim.filters & ~self.granted(claim) & ~self.full(claim.visit)

    def begin(self, offset: int, log_id: str = "") -> None:
        """Forget all claims, before those in the log from ``offset`` on are applied.

        :param log_id: tells it from another log of the same name.
        """
        self._visits.clear()
        self._source_ids.clear()
        self._alerts = 0
        self._next = offset
        self._log_id = log_id

    @property
    def since(self) -> int:
        """The offset in the log of the first claim that is kept."""
        begins = [
            self._source_ids.since,
            *(each.begin for each in islice(self._visits.values(), 1)),
        ]
        return min((each for each in begins if each is not None), default=self._next)

    def apply(self, claims: Iterable[Claim], at: int = 0) -> None:
        """Grant claims within the cap; ``at`` is their offset in the log."""
        for claim in claims:
            if self.is_duplicate(claim):
                continue
            if self.cap:
                self._apply(claim, at)
            if claim.source is not None and self.granted(claim):
                self._source_ids.add(claim, at)
        self._next = at + 1

    def _apply(self, claim: Claim, at: int) -> None:
        if claim.visit not in self._visits:
            self._visits[claim.visit] = _Visit(at, [0] * len(self._topics))
        claimed = self._visits[claim.visit]
        known = claimed.granted.get(claim[1:4], 0)
        new = claim.filters & ~known & ~claimed.full
        if new:
            self._alerts += not known
            claimed.granted[claim[1:4]] = known | new
        for index in bits(new):
            claimed.counts[index] += 1
            if claimed.counts[index] == self.cap:
                claimed.full |= 1 << index

    def forget_old(self) -> None:
        """Forget the oldest visits if there are too many; call it when nothing is undecided."""
        while len(self._visits) > MAX_VISITS or (
            self._alerts > MAX_ALERTS and len(self._visits) > 1
        ):
            oldest = self._visits.pop(next(iter(self._visits)))
            self._alerts -= len(oldest.granted)

    def as_metadata(self) -> dict[str, Any]:
        """Return what is stored with a group's offsets: the log, and where its claims begin."""
        return {"visit_caps": self.since, "log": self._log_id} if self.are_shared else {}

    def encode(self, claims: Sequence[Claim]) -> bytes:
        """Return claims as they are in the log."""
        places = [
            (
                visit if self.cap else 0,
                *place,
                f"{filters:x}",
                *([] if source is None else [source]),
            )
            for visit, *place, filters, source in claims
        ]
        by = {"cap": self.cap, "unique": self.unique, "filters": "".join(self.keys)}
        return json.dumps({**by, "claims": places}, separators=(",", ":")).encode()

    def decode(self, value: bytes) -> list[Claim]:
        """Return a log entry's claims, of those filters that still exist.

        :raises ValueError: they do not count; the text says why.
        """
        try:
            found = json.loads(value)
            by, keys = (found.get("cap"), found.get("unique")), found["filters"]
            claims = [
                Claim(visit, topic, partition, offset, int(filters, 16), *source)
                for visit, topic, partition, offset, filters, *source in found["claims"]
            ]
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise ValueError(NOT_VALID) from None
        if by != (self.cap, self.unique):
            raise ValueError(OTHERS)
        if not (isinstance(keys, str) and all(map(partial(_is_valid, len(keys)), claims))):
            raise ValueError(NOT_VALID)
        return claims if keys == "".join(self.keys) else self._of_others(keys, claims)

    def _of_others(self, keys: str, claims: Sequence[Claim]) -> list[Claim]:
        """Return claims from when the group had other filters, for the filters that are left."""
        if keys not in self._bits_by_keys:
            bit_of = {key: 1 << index for index, key in enumerate(self.keys)}
            theirs = [keys[at : at + KEY_LENGTH] for at in range(0, len(keys), KEY_LENGTH)]
            self._bits_by_keys[keys] = [bit_of.get(each, 0) for each in theirs]
        known = self._bits_by_keys[keys]
        left = (
            each._replace(filters=sum(known[index] for index in bits(each.filters)))
            for each in claims
        )
        return [each for each in left if each.filters]


def filter_key(topic: str) -> str:
    """Return a filter's short key, derived from its output topic."""
    return urlsafe_b64encode(sha256(topic.encode()).digest())[:KEY_LENGTH].decode()


def _is_valid(keys: int, claim: Claim) -> bool:
    kinds: Any = ((int, str), str, int, int, int, (int, str, NoneType))
    valid = all(isinstance(value, kind) for value, kind in zip(claim, kinds, strict=True))
    return valid and 0 < claim.filters < 1 << keys // KEY_LENGTH


def claims_start(metadata: str) -> tuple[int, str] | None:
    """Return where the claims begin, and in which log, from the text stored with an offset."""
    with suppress(KeyError, TypeError, ValueError, RecursionError):
        found = json.loads(metadata)
        if isinstance(begin := found["visit_caps"], int) and begin >= 0:
            return begin, str(found["log"])
    return None


def bits(number: int) -> Iterator[int]:
    """Yield the places of a number's bits that are set, the lowest first."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
