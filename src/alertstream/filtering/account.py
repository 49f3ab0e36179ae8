"""What is decided about messages, and the account of it: by visit and in total."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from alertstream.kafka.messages import Copy, Offsets
from alertstream.reading import VISIT_TIMEOUT


@dataclass(slots=True)
class FilterCounts:
    """What one filter did with the alerts of a visit, or (``final``) with all messages.

    ``seen == passed + rejected + capped + undecodable``. ``failed`` are the rejected alerts on
    which the filter's own code raised an error.

    :param visit: None stands for alerts that name no visit, unless the counts are final.
    """

    filter: str
    visit: int | None = None
    seen: int = 0
    passed: int = 0
    capped: int = 0
    undecodable: int = 0
    failed: int = 0
    final: bool = False

    @classmethod
    def from_json(cls, counts: Mapping[str, Any]) -> FilterCounts:
        """Return the counts that :meth:`as_json` gave."""
        return cls(**{each.name: counts[each.name] for each in fields(cls) if each.name in counts})

    @property
    def rejected(self) -> int:
        """Alerts that the filter did not want."""
        return self.seen - self.passed - self.capped - self.undecodable

    def add(self, other: FilterCounts) -> None:
        """Add the numbers of another account of the same filter."""
        self.seen += other.seen
        self.passed += other.passed
        self.capped += other.capped
        self.undecodable += other.undecodable
        self.failed += other.failed

    def as_line(self) -> str:
        """Return the counts as a line for people."""
        visit = "no visit" if self.visit is None else f"visit {self.visit}"
        failed = f" ({self.failed} of them failed)" if self.failed else ""
        return (
            f"{self.filter}  {'all visits' if self.final else visit}: {self.seen} seen"
            f" = {self.passed} passed + {self.rejected} rejected{failed}"
            f" + {self.capped} capped + {self.undecodable} undecodable"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the counts as a JSON object; only those of all messages have ``final``."""
        names = ("filter", "visit", "seen", "passed", "rejected", "capped", "undecodable", "failed")
        counts = {name: getattr(self, name) for name in names}
        return counts | {"final": True} if self.final else counts


@dataclass(frozen=True)
class Decided:
    """What follows from some messages: what is to be written, and counted once it is.

    :param copies: of alerts to the filters' topics, and of undecodable messages to theirs.
    :param offsets: where reading goes on after the messages.
    :param counts: of each filter and visit.
    """

    copies: Sequence[Copy]
    offsets: Offsets
    counts: Sequence[FilterCounts]
    undecodable: int = 0

    @cached_property
    def copied_bytes(self) -> int:
        """The size of all copies."""
        return sum(each.message.size for each in self.copies)

    @cached_property
    def held_bytes(self) -> int:
        """The size of the messages that stay in memory until all is written."""
        sizes = {id(each.message): each.message.size for each in self.copies}
        return sum(sizes.values())


class FilterAccount:
    """The counts of several filters that are given the same messages.

    :param filters: the filters' names.
    :param now: the time in seconds, by a clock that is never set back.
    """

    def __init__(self, filters: Sequence[str], now: Callable[[], float] = time.monotonic) -> None:
        self._undecodable = 0
        self._totals = {name: FilterCounts(name, final=True) for name in filters}
        self._visits: dict[int | None, dict[str, FilterCounts]] = {}
        self._last_added: dict[int | None, float] = {}
        self._now = now

    def add(self, counts: Iterable[FilterCounts], undecodable: int = 0) -> None:
        """Add what filters did with alerts of visits, and the number of undecodable messages."""
        self._undecodable += undecodable
        now = self._now()
        for each in counts:
            visit = self._visits.setdefault(each.visit, {})
            visit.setdefault(each.filter, FilterCounts(each.filter, each.visit)).add(each)
            self._totals[each.filter].add(each)
            self._last_added[each.visit] = now

    def close_visits(self, *, all_of_them: bool = False) -> list[FilterCounts]:
        """Return each filter's counts of the visits that are over, and forget them.

        A visit is over when no alert of it has come for ``VISIT_TIMEOUT``; should one come later
        after all, it is counted in another report on the same visit.
        """
        latest = self._now() - VISIT_TIMEOUT
        over = [visit for visit, at in self._last_added.items() if all_of_them or at < latest]
        for visit in over:
            del self._last_added[visit]
        return [counts for visit in over for counts in self._visits.pop(visit).values()]

    def totals(self) -> list[FilterCounts]:
        """Return each filter's counts of all messages."""
        return [
            replace(each, seen=each.seen + self._undecodable, undecodable=self._undecodable)
            for each in self._totals.values()
        ]
