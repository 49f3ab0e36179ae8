"""Decisions about messages, and their account by visit and in total."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import groupby
from types import MappingProxyType
from typing import Any, Literal

from alertstream.kafka.messages import Copy, Offsets
from alertstream.reading import VISIT_TIMEOUT

MAX_VISITS = 1000
"""Visits that are counted separately at one time."""
_OTHERS: Literal["others"] = "others"
_Visit = int | None | Literal["others"]


@dataclass(slots=True)
class FilterCounts:
    """What one filter did with the alerts of a visit, or (``final``) with all messages.

    ``seen == passed + rejected + capped + duplicate + undecodable + failed``. ``failed`` are alerts
    on which the filter's own code raised an error, or that its topic does not take.

    :param visit: None stands for alerts that name no visit, unless the counts are final.
    :param visits: if not 0, these are the sums of so many visits.
    :param seconds: from the first message to the last one; 0 is unknown.
    """

    filter: str
    visit: int | None = None
    seen: int = 0
    passed: int = 0
    capped: int = 0
    undecodable: int = 0
    failed: int = 0
    final: bool = False
    visits: int = 0
    seconds: float = 0.0
    duplicate: int = 0

    @classmethod
    def from_json(cls, counts: Mapping[str, Any]) -> FilterCounts:
        """Return the counts that :meth:`as_json` gave."""
        return cls(**{each.name: counts[each.name] for each in fields(cls) if each.name in counts})

    @property
    def rejected(self) -> int:
        """Alerts that the filter did not want."""
        others = self.capped + self.duplicate + self.undecodable + self.failed
        return self.seen - self.passed - others

    @property
    def share(self) -> float:
        """Which part of the alerts has passed, 0 to 1; NaN without alerts."""
        alerts = self.seen - self.undecodable
        return self.passed / alerts if alerts else math.nan

    @property
    def rate(self) -> float:
        """Alerts per second."""
        return self.seen / self.seconds if self.seconds else 0.0

    def add(self, other: FilterCounts) -> None:
        """Add the numbers of another account of the same filter."""
        for name in ("seen", "passed", "capped", "duplicate", "undecodable", "failed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_line(self) -> str:
        """Return the counts as a line for people."""
        return f"{self.filter}  {self.of}: {self.seen} seen = {self.parts}"

    @property
    def of(self) -> str:
        """What is counted."""
        if self.final:
            return "all visits"
        if self.visits:
            return f"{self.visits} more visits"
        return "no visit" if self.visit is None else f"visit {self.visit}"

    @property
    def parts(self) -> str:
        """What became of the alerts that were seen."""
        failed = f" + {self.failed} failed" if self.failed else ""
        duplicate = f" + {self.duplicate} duplicate" if self.duplicate else ""
        return (
            f"{self.passed} passed + {self.rejected} rejected"
            f" + {self.capped} capped{duplicate} + {self.undecodable} undecodable{failed}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the counts as a JSON object; only those of all messages have ``final``."""
        what = ("passed", "rejected", "capped", "duplicate", "undecodable", "failed")
        counts = {name: getattr(self, name) for name in ("filter", "visit", "seen", *what)}
        more = {"final": self.final, "visits": self.visits, "seconds": round(self.seconds, 6)}
        more["alerts_per_second"] = round(self.rate, 1)
        return counts | {name: value for name, value in more.items() if value}


def visit_lines(counts: Iterable[FilterCounts]) -> Iterator[str]:
    """Yield a line for each visit, however many filters there are, and for each final count."""
    for _, group in groupby(
        counts, lambda each: (each.visit, each.visits, each.final and each.filter)
    ):
        first, *others = group
        if not others:
            yield first.as_line()
            continue
        total = FilterCounts("", first.visit, visits=first.visits)
        for each in (first, *others):
            total.add(each)
        fewest = min(each.seen for each in (first, *others))
        most = max(each.seen for each in (first, *others))
        seen = f"{most}" if fewest == most else f"{fewest} to {most}"
        filters = f"{seen} seen by {1 + len(others)} filters"
        yield f"{total.of}: {filters} = {total.parts}"


@dataclass(frozen=True)
class Decided:
    """Decisions about some messages: what to write, and to count once it is written.

    :param copies: of alerts to the filters' topics, and of undecodable messages to theirs.
    :param offsets: where reading continues after the messages.
    :param counts: yields those of each filter and visit, which may be very many.
    :param undecodable: numbers of undecodable messages by filter.
    """

    copies: Sequence[Copy]
    offsets: Offsets
    counts: Callable[[], Iterable[FilterCounts]]
    undecodable: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def copied_bytes(self) -> int:
        """The size of all copies."""
        return sum(each.message.size for each in self.copies)

    @cached_property
    def held_bytes(self) -> int:
        """The size of the messages that stay in memory until all is written."""
        sizes = {id(each.message.value): each.message.size for each in self.copies}
        return sum(sizes.values())


class FilterAccount:
    """The counts of several filters that are given the same messages.

    :param filters: the filters' names.
    :param now: the time in seconds, by a clock that is never set back.
    """

    def __init__(self, filters: Sequence[str], now: Callable[[], float] = time.monotonic) -> None:
        self._undecodable: Counter[str] = Counter()
        self._totals = {name: FilterCounts(name, final=True) for name in filters}
        self._visits: dict[_Visit, dict[str, FilterCounts]] = {}
        self._last_added: dict[_Visit, float] = {}
        self._now = now
        self._began: float | None = None
        self.seconds = 0.0
        """From the first message that came to the last one that was counted."""

    def begin(self) -> None:
        """Count the seconds from now on, if this is the first time."""
        if self._began is None:
            self._began = self._now()

    def add(
        self, counts: Iterable[FilterCounts], undecodable: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        """Add what filters did with alerts of visits, and undecodable messages by filter.

        The counts are stored, and must not change any more. Beyond ``MAX_VISITS`` at once, the
        visits that have waited longest are summed up.
        """
        self._undecodable.update(undecodable)
        if self._began is not None:
            self.seconds = self._now() - self._began
        for visit, of_visit in groupby(counts, lambda each: _OTHERS if each.visits else each.visit):
            for each in of_visit:
                self._totals[each.filter].add(each)
                self._add(visit, each)
            self._last_added.pop(visit, None)
            self._last_added[visit] = self._now()
            while len(self._last_added) > MAX_VISITS:
                self._sum_up(next(each for each in self._last_added if each != _OTHERS))

    def _add(self, visit: _Visit, counts: FilterCounts) -> None:
        known = self._visits.setdefault(visit, {}).setdefault(counts.filter, counts)
        if known is not counts:
            known.add(counts)
            known.visits += counts.visits

    def _sum_up(self, visit: int | None) -> None:
        """Merge a visit into the sum of others."""
        self._last_added[_OTHERS] = self._last_added.pop(visit)
        for each in self._visits.pop(visit).values():
            self._add(_OTHERS, replace(each, visit=None, visits=1))

    def close_visits(self, *, all_of_them: bool = False) -> list[FilterCounts]:
        """Return each filter's counts of the visits that are over, and forget them.

        A visit is over when none of its alerts has come for ``VISIT_TIMEOUT``; later ones are
        counted in another report on the same visit.
        """
        latest = self._now() - VISIT_TIMEOUT
        over = [visit for visit, at in self._last_added.items() if all_of_them or at < latest]
        for visit in over:
            del self._last_added[visit]
        return [counts for visit in over for counts in self._visits.pop(visit).values()]

    def totals(self) -> list[FilterCounts]:
        """Return each filter's counts of all messages."""
        return [
            replace(
                each,
                seen=each.seen + self._undecodable[each.filter],
                undecodable=self._undecodable[each.filter],
                seconds=self.seconds,
            )
            for each in self._totals.values()
        ]
