"""Caps: how many alerts of a visit a filter lets through, counted over all members of its group.

Members of a consumer group judge a visit's alerts at once, each those of its partitions. Before a
member lets alerts through, it claims them: it appends them to a log that all members write to, the
topic ``GROUP-visit-caps``. The first so many of a visit in that log are let through, whoever has
claimed them. As a claim names the alert by its offset, it still stands when that is read again,
after a crash, or by another member: neither is a cap exceeded, nor is a place in it lost.

What it costs: while a cap is not reached, a short message and its way back for each batch of
alerts; when it is, nothing. A member that starts reads the claims of the last ``VISITS_REMEMBERED``
visits: where they begin is kept with each offset that is committed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from alertstream.errors import DeliveryError
from alertstream.filtering.filters import is_topic_name
from alertstream.kafka.admin import make_topics
from alertstream.kafka.connection import Connection
from alertstream.kafka.group_log import Log, log
from alertstream.kafka.messages import ConsumerGroupMetadata
from alertstream.kafka.topics import VISIT_CAPS_SUFFIX, TopicLayout
from alertstream.system.cancellation import unless

VISITS_REMEMBERED = 500
"""Visits whose counts are kept: members that are further apart do not know of each other's."""
ALERTS_REMEMBERED = 100_000
"""Alerts that are kept of all visits but the last one; more are there with large caps only."""
ALL = -1
"""The bits of all filters."""


class Claim(NamedTuple):
    """An alert that filters want to let through: bit 0 of ``filters`` is the first one's."""

    visit: int | None
    topic: str
    partition: int
    offset: int
    filters: int


@dataclass
class _OfVisit:
    """What is claimed of one visit: counts by filter, and for which filters an alert is granted.

    :param begin: offset of its first claim in the log.
    :param full: bits of the filters whose cap is reached.
    """

    begin: int
    counts: list[int]
    full: int = 0
    granted: dict[tuple[str, int, int], int] = field(default_factory=dict)


class VisitCaps:
    """Which alerts the filters let through, by what is claimed.

    :param topics: the filters' output topics.
    :param most: alerts per visit and filter; 0 is no limit.
    """

    def __init__(self, topics: Sequence[str], most: int) -> None:
        self.most = most
        self._topics = topics
        self._digest = sha256(f"{most} {' '.join(topics)}".encode()).hexdigest()[:8]
        self._visits: dict[int | None, _OfVisit] = {}
        self._alerts = 0
        self._next = 0

    def full(self, visit: int | None) -> int:
        """Return the bits of the filters whose cap is reached for a visit."""
        of_visit = self._visits.get(visit)
        return of_visit.full if of_visit else 0

    def granted(self, visit: int | None, topic: str, partition: int, offset: int) -> int:
        """Return the bits of the filters for which an alert's claim is among the first."""
        if self.most == 0:
            return ALL
        of_visit = self._visits.get(visit)
        return of_visit.granted.get((topic, partition, offset), 0) if of_visit else 0

    def begin(self, offset: int) -> None:
        """Forget all claims; those from an offset of the log on are to be applied."""
        self._visits.clear()
        self._alerts = 0
        self._next = offset

    @property
    def since(self) -> int:
        """The offset in the log from which on the claims count that are remembered."""
        return next((each.begin for each in self._visits.values()), self._next)

    def apply(self, claims: Iterable[Claim], at: int = 0) -> None:
        """Grant the claims that are among a visit's first; ``at`` is their offset in the log."""
        for visit, topic, partition, offset, filters in claims:
            if visit not in self._visits:
                self._visits[visit] = _OfVisit(at, [0] * len(self._topics))
            of_visit = self._visits[visit]
            known = of_visit.granted.get((topic, partition, offset), 0)
            new = filters & ~known & ~of_visit.full
            if new:
                self._alerts += not known
                of_visit.granted[topic, partition, offset] = known | new
                self._count(of_visit, new)
        self._next = at + 1

    def _count(self, of_visit: _OfVisit, filters: int) -> None:
        for index in bits(filters):
            of_visit.counts[index] += 1
            if of_visit.counts[index] == self.most:
                of_visit.full |= 1 << index

    def forget_old(self) -> None:
        """Forget the oldest visits, as far as there are too many; when nothing is to be decided."""
        while len(self._visits) > VISITS_REMEMBERED or (
            self._alerts > ALERTS_REMEMBERED and len(self._visits) > 1
        ):
            oldest = self._visits.pop(next(iter(self._visits)))
            self._alerts -= len(oldest.granted)

    def written(self) -> str:
        """Return what is to be kept with a group's offsets."""
        if self.most == 0:
            return ""
        return json.dumps({"visit_caps": self.since})

    def encoded(self, claims: Sequence[Claim]) -> bytes:
        """Return claims as they are in the log."""
        places = [(*claim[:-1], f"{claim.filters:x}") for claim in claims]
        text = json.dumps({"filters": self._digest, "claims": places}, separators=(",", ":"))
        return text.encode()

    def decoded(self, value: bytes) -> list[Claim]:
        """Return claims that are in the log: none, if they are of other filters or caps."""
        with suppress(KeyError, TypeError, ValueError):
            found = json.loads(value)
            if found["filters"] == self._digest:
                return [Claim._make([*place, int(f, 16)]) for *place, f in found["claims"]]
        return []


def bits(number: int) -> Iterator[int]:
    """Yield the places of a number's bits that are set, the lowest first."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


def caps_topic(group: str) -> str:
    """Return the topic that a group's members claim alerts in."""
    name = f"{group}{VISIT_CAPS_SUFFIX}"
    if is_topic_name(name):
        return name
    return f"{sha256(group.encode()).hexdigest()[:16]}{VISIT_CAPS_SUFFIX}"


def begin_of_claims(kept: str) -> int | None:
    """Return the offset in the log from which on claims count, by what is kept with an offset."""
    with suppress(KeyError, TypeError, ValueError):
        return int(json.loads(kept)["visit_caps"])
    return None


@dataclass
class SharedCaps:
    """The caps, and the log by which members of a group agree on them.

    :param restored_as: who this process was in the group when it last restored them.
    """

    caps: VisitCaps
    log: Log
    restored_as: ConsumerGroupMetadata | None = None

    def __post_init__(self) -> None:
        self.caps.begin(self.log.next)

    def restore(self, begin: int) -> None:
        """Let all claims count that are in the log from an offset on."""
        if begin < self.caps.since:
            self.caps.begin(begin)
            self.log.seek(begin)

    async def claim(self, claims: Sequence[Claim], stop: asyncio.Event) -> None:
        """Claim alerts, and learn which of them are let through.

        :param stop: once it is set, Kafka has ``SHUTDOWN_TIMEOUT`` to answer.
        :raises DeliveryError: that is not known; they may be claimed all the same.
        """
        if not claims:
            return
        try:
            found = await unless(stop, self.log.append(self.caps.encoded(claims)))
        except TimeoutError:
            text = "no answer in time: what was not written will be read again"
            raise DeliveryError(text, where=self.log.topic) from None
        for at, value in found:
            self.caps.apply(self.caps.decoded(value), at)


@asynccontextmanager
async def shared_caps(
    connection: Connection, group: str, caps: VisitCaps
) -> AsyncIterator[SharedCaps | None]:
    """Give the caps as all members of a group have them; None if there are none.

    :raises TopicError: the topic for claims is not there, and cannot be made.
    :raises BrokerError: Kafka cannot be reached, or refuses.
    """
    if caps.most == 0:
        yield None
        return
    topic = caps_topic(group)
    await make_topics(connection, [topic], TopicLayout(1))
    async with log(connection, topic) as opened:
        yield SharedCaps(caps, opened)
