"""Caps: how many alerts of a visit a filter lets through, by what members of a group claim.

Before a member lets alerts through, it claims them in a log that all members share: the first so
many of a visit in that log are granted, no matter which member claimed them. As a claim names the
alert by its offset, it still stands when that is read again, after a crash, or by another member:
neither is a cap exceeded, nor is a place in it lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

MAX_VISITS = 500
"""Visits whose claims are kept: members further apart than that do not share a cap."""
MAX_ALERTS = 100_000
"""Granted alerts that are kept of all visits but the last one; only large caps reach it."""
ALL_FILTERS = -1
"""The bits of all filters."""
OTHERS = "what was claimed by other filters, or with another --cap, does not count"
NOT_VALID = "a claim is not valid, and does not count"


Visit = int | str
"""What a cap counts by: see :func:`visit_or_minute`."""


def visit_or_minute(visit: int | None, timestamp: int) -> Visit:
    """Return an alert's visit, or if it names none the minute of its timestamp (ms) in its place.

    All members know both, also when they read it again; and a cap that was reached ends.
    """
    return f"minute {timestamp // 60_000}" if visit is None else visit


class Claim(NamedTuple):
    """An alert that filters want to let through: bit 0 of ``filters`` is the first one's."""

    visit: Visit
    topic: str
    partition: int
    offset: int
    filters: int


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
    """

    def __init__(self, topics: Sequence[str], cap: int) -> None:
        self.cap = cap
        self._topics = topics
        self._digest = sha256(f"{cap} {' '.join(topics)}".encode()).hexdigest()[:8]
        self._visits: dict[Visit, _Visit] = {}
        self._alerts = 0
        self._next = 0
        self._log_id = ""

    def full(self, visit: Visit) -> int:
        """Return the bits of the filters whose cap is reached for a visit."""
        claimed = self._visits.get(visit)
        return claimed.full if claimed else 0

    def granted(self, visit: Visit, topic: str, partition: int, offset: int) -> int:
        """Return the bits of the filters for which an alert's claim is granted."""
        if self.cap == 0:
            return ALL_FILTERS
        claimed = self._visits.get(visit)
        return claimed.granted.get((topic, partition, offset), 0) if claimed else 0

    def begin(self, offset: int, log_id: str = "") -> None:
        """Forget all claims; those in the log from ``offset`` on are to be applied.

        :param log_id: tells it from another log of the same name.
        """
        self._visits.clear()
        self._alerts = 0
        self._next = offset
        self._log_id = log_id

    @property
    def since(self) -> int:
        """The offset in the log of the first claim that is kept."""
        return next((each.begin for each in self._visits.values()), self._next)

    def apply(self, claims: Iterable[Claim], at: int = 0) -> None:
        """Grant the claims that are among a visit's first; ``at`` is their offset in the log."""
        for visit, topic, partition, offset, filters in claims:
            if visit not in self._visits:
                self._visits[visit] = _Visit(at, [0] * len(self._topics))
            claimed = self._visits[visit]
            known = claimed.granted.get((topic, partition, offset), 0)
            new = filters & ~known & ~claimed.full
            if new:
                self._alerts += not known
                claimed.granted[topic, partition, offset] = known | new
            for index in bits(new):
                claimed.counts[index] += 1
                if claimed.counts[index] == self.cap:
                    claimed.full |= 1 << index
        self._next = at + 1

    def forget_old(self) -> None:
        """Forget the oldest visits if there are too many; call it when nothing is undecided."""
        while len(self._visits) > MAX_VISITS or (
            self._alerts > MAX_ALERTS and len(self._visits) > 1
        ):
            oldest = self._visits.pop(next(iter(self._visits)))
            self._alerts -= len(oldest.granted)

    def as_metadata(self) -> str:
        """Return what is kept with a group's offsets: where the claims begin, in which log."""
        if self.cap == 0:
            return ""
        return json.dumps({"visit_caps": self.since, "log": self._log_id})

    def encode(self, claims: Sequence[Claim]) -> bytes:
        """Return claims as they are in the log."""
        places = [(*claim[:-1], f"{claim.filters:x}") for claim in claims]
        text = json.dumps({"filters": self._digest, "claims": places}, separators=(",", ":"))
        return text.encode()

    def decode(self, value: bytes) -> list[Claim]:
        """Return claims that are in the log.

        :raises ValueError: they do not count, and why.
        """
        try:
            found = json.loads(value)
            digest = found["filters"]
            claims = [Claim._make([*place, int(f, 16)]) for *place, f in found["claims"]]
        except (KeyError, TypeError, ValueError, RecursionError):
            raise ValueError(NOT_VALID) from None
        if digest != self._digest:
            raise ValueError(OTHERS)
        if not all(map(self._is_valid, claims)):
            raise ValueError(NOT_VALID)
        return claims

    def _is_valid(self, claim: Claim) -> bool:
        kinds: Any = ((int, str), str, int, int, int)
        valid = all(isinstance(value, kind) for value, kind in zip(claim, kinds, strict=True))
        return valid and 0 < claim.filters < 1 << len(self._topics)


def begin_of_claims(metadata: str) -> tuple[int, str] | None:
    """Return where the claims begin, and in which log, by the text that is kept with an offset."""
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
