"""The share of alerts that passes filters, by band and visit, with positions and magnitudes."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from alertstream.alert.surveys import field_paths
from alertstream.alert.text import BARS
from alertstream.avro.schemas import Schemas
from alertstream.errors import printable
from alertstream.filtering.account import FilterCounts
from alertstream.kafka.messages import Copy, Message
from alertstream.reading.decoder import AlertDecoder, Undecodable

COLUMNS = ("ra", "dec", "magnitude", "band", "passes")
"""What is kept of an alert: deg, deg, AB magnitude, its band's number, and 1 if it passes."""
MAX_BANDS, MAX_BAND = 12, 8
"""Bands that are counted separately, and characters of a band's name."""
MAGNITUDES = range(14, 28)


class PassRates:
    """The alerts of each band, in all and by filter that they pass."""

    def __init__(self, topics: Sequence[str], schemas: Schemas) -> None:
        self.seen: Counter[str] = Counter()
        self.alerts = array("f")
        """The ``COLUMNS`` of one alert after the other, in 20 bytes."""
        self._passed: dict[str, Counter[str]] = {topic: Counter() for topic in topics}
        self._decoder = AlertDecoder(schemas, field_paths(COLUMNS[:4]))

    def add(self, messages: Iterable[Message], copies: Iterable[Copy]) -> None:
        """Count messages of one file, and the copies that filters have of them."""
        topics: dict[int, list[str]] = defaultdict(list)
        for copy in copies:
            topics[copy.message.offset] += [copy.topic] if copy.topic in self._passed else ()
        for message in messages:
            alert = self._decoder.decode(message)
            if isinstance(alert, Undecodable):
                continue
            band, place = "-", (math.nan,) * 3
            # Files of others may have fields of any type.
            with suppress(ArithmeticError, TypeError, ValueError):
                band = printable(str(alert.band or "-"), MAX_BAND)
                place = (alert.ra, alert.dec, alert.magnitude)
            if band not in self.seen and len(self.seen) >= MAX_BANDS:
                band = "other"
            self.seen[band] += 1
            passed = topics.get(message.offset, ())
            for topic in passed:
                self._passed[topic][band] += 1
            self.alerts.extend((*place, [*self.seen].index(band), bool(passed)))

    def bands(self) -> dict[str, int]:
        """Return the bands' numbers, from blue to red, and then others."""
        numbers = {band: number for number, band in enumerate(self.seen)}
        return dict(
            sorted(numbers.items(), key=lambda each: ("ugrizy-".find(each[0][0]) % 9, each[0]))
        )

    def as_json(self, counts: FilterCounts) -> dict[str, Any]:
        """Return a filter's counts with the share that passes, and if they are final, by band."""
        found = counts.as_json() | {"share": None if math.isnan(counts.share) else counts.share}
        if counts.final:
            passed = self._passed[counts.filter]
            found["bands"] = {
                band: {"seen": self.seen[band], "passed": passed[band]} for band in self.bands()
            }
        return found

    def lines(self, counts: Sequence[FilterCounts]) -> list[str]:
        """Return the share that passes each filter, and the magnitudes of what passes any."""
        lines = []
        for total in (each for each in counts if each.final):
            passed = self._passed[total.filter]
            bands = (f"{each} {percent(passed[each] / self.seen[each])}" for each in self.bands())
            line = f"{total.filter}  {percent(total.share)} pass: {', '.join(bands)}"
            visits = [each.share for each in counts if each.filter == total.filter and each.visit]
            if visits[1:]:
                line += f" · of a visit {percent(min(visits))} to {percent(max(visits))}"
            lines.append(line)
        rows = [*zip(*[iter(self.alerts)] * len(COLUMNS), strict=True)]
        ends = f"mag {MAGNITUDES[0]}", f"{MAGNITUDES[-1] + 1}"
        for name, least in (("all alerts", 0), ("what passes", 1)):
            bright = Counter(
                math.floor(row[2]) for row in rows if row[4] >= least and row[2] == row[2]
            )
            most = max(bright.values(), default=1)
            bars = (
                BARS[-(-bright[each] * 7 // most)] if bright[each] else " " for each in MAGNITUDES
            )
            lines.append(f"{ends[0]} {''.join(bars)} {ends[1]}  {name}")
        return lines


def percent(share: float) -> str:
    """Return a share for people."""
    return "-" if math.isnan(share) else f"{100 * share:.3g} %"


def guard_violation(counts: Iterable[FilterCounts], guard: float) -> str | None:
    """Return what is wrong: a filter passes more than a share of the alerts, or there are none."""
    totals = [each for each in counts if each.final]
    if not any(each.share >= 0 for each in totals):
        return "there are no alerts that could say how many pass"
    most = max(totals, key=lambda each: each.share)
    more = sum(each.share > guard for each in totals) - 1
    if more < 0:
        return None
    others = f", and {more} more filter{'s' * (more > 1)} too many" if more else ""
    return f"{most.filter} passes {percent(most.share)} of the alerts{others}"
