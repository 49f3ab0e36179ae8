"""Which alerts are looked at: those that filters pass, where nothing is written to topics."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from alertstream.alert.alert import Alert
from alertstream.alert.surveys import field_paths
from alertstream.errors import Notice
from alertstream.filtering.filters import AlertFilter, error_line, union_of_fields
from alertstream.filtering.watchdog import Watchdog
from alertstream.reading.decoder import ReportedOnce


class Selection:
    """Chooses alerts by filters.

    :param alternatives: of each of these groups, an alert has to pass one filter.
    :param notice: called with each kind of error that a filter's code raises.
    """

    def __init__(self, alternatives: Sequence[Sequence[AlertFilter]], notice: Notice) -> None:
        self._filters = [each for group in alternatives for each in group]
        self._groups = []
        first = 0
        for group in alternatives:
            self._groups.append((1 << first + len(group)) - (1 << first))
            first += len(group)
        passes = [each.passes for each in self._filters]
        self._watchdog = Watchdog([each.topic for each in self._filters], passes, notice)
        self._report = ReportedOnce(notice)

    def paths(self) -> set[str] | None:
        """Return the dotted paths to decode; None is all."""
        fields = union_of_fields(self._filters)
        return None if fields is None else field_paths(fields)

    def passes(self, alert: Alert) -> bool | None:
        """Return whether an alert is chosen; None if that is not known, as a filter's code failed.

        What others pass all the same is chosen. Its ``matches`` are those of all filters that pass
        it.
        """
        with self._watchdog.watching():
            passed, errors = self._watchdog.passed(alert)
        for bit, error in errors:
            name, cause = self._filters[bit.bit_length() - 1].topic, error_line(error)
            self._report(f"{name} {cause}", f"{name} raised an error on an alert: {cause}")
        if all(passed & group for group in self._groups):
            if alert.matches_by_turn:
                said = [*chain.from_iterable(self._watchdog.matched(alert, passed).values())]
                alert.turns = ()
                alert.matches[:] = [each for at, each in enumerate(said) if each not in said[:at]]
            return True
        return None if errors else False
