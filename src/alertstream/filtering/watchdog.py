"""Runs filters on alerts, and stops one that does not return."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from operator import length_hint
from types import FrameType
from typing import Any

from alertstream.alert.alert import Alert
from alertstream.errors import Event, Notice, error_line
from alertstream.reading.decoder import ReceivedAlert, ReportedOnce
from alertstream.system.alarm import every

SLOW_TIMEOUT = 1.0
"""Seconds that a filter may take for an alert before the user is told."""
FILTER_TIMEOUT = 2.0
"""Seconds that a filter may take for an alert; filters that were slow share them."""
TICK = 0.1
MAX_SHOWN = 40
ALL = -1
NOT_DUE: tuple[int, Callable[[Alert], bool]] = (0, lambda alert: False)


class FilterTimeout(BaseException):
    """A filter takes too long. It is not an :class:`Exception`, so that filters let it pass."""


class Watchdog:
    """Runs filters on alerts, one after the other, and stops slow ones.

    This costs nothing: the state of the iterator over the filters tells which one runs.

    :param names: the filters'.
    :param filters: each one's ``passes``.
    """

    def __init__(
        self, names: Sequence[str], filters: Sequence[Callable[[Alert], bool]], notice: Notice
    ) -> None:
        self._names = names
        self._filters = [(1 << index, each) for index, each in enumerate(filters)]
        self._given = {ALL: self._filters, (1 << len(filters)) - 1: self._filters}
        self._turns: Iterator[object] | None = None
        self._notice = notice
        self._report = ReportedOnce(notice)
        self._turn: tuple[object, int] = (None, 0)
        self._since = 0.0
        self._told: set[str] = set()
        self._stopped: set[str] = set()

    def passed(self, alert: ReceivedAlert, due: int = ALL) -> tuple[int, int]:
        """Return the bits of the filters that an alert passes, and of those that raise an error.

        :param due: bits of the filters that it is for.
        """
        if due not in self._given:
            # Keep their positions, which tell which filter runs.
            self._given[due] = [each if each[0] & due else NOT_DUE for each in self._filters]
        passed = 0
        errors: list[tuple[int, BaseException]] = []
        self._turns = alert.turns = turns = iter(self._given[due])
        for bit, passes in turns:
            try:
                answer = passes(alert)
                if answer is True or (answer is not False and self._is_true(bit, answer)):
                    passed |= bit
            except (Exception, FilterTimeout) as error:
                errors.append((bit, error))
        self._turns = None
        return passed, self._reported(alert, errors) if errors else 0

    def _reported(self, alert: ReceivedAlert, errors: list[tuple[int, BaseException]]) -> int:
        """Report each kind of error that filters have raised; return their bits."""
        for bit, raised in errors:
            name, cause = self._name(bit), error_line(raised)
            text = f"{name} raised an error on an alert; it failed: {cause}"
            event = Event(text, filter=name, **alert.message.place, cause=cause)
            self._report(f"{name} {cause}", event)
        return sum(bit for bit, _ in errors)

    def _name(self, bit: int) -> str:
        return self._names[bit.bit_length() - 1]

    def matched(self, alert: Alert, passed: int) -> dict[int, list[dict[str, Any]]]:
        """Return what an alert matched in the filters that it passed, by their positions.

        :param passed: bits of the filters that it passes.
        """
        last = len(self._filters) - 1
        found = {last - turn: matches for turn, matches in (alert.matches_by_turn or {}).items()}
        return {index: matches for index, matches in found.items() if passed >> index & 1}

    def _is_true(self, bit: int, answer: object) -> bool:
        """Return whether an answer that is neither True nor False counts as true."""
        if answer is None or isinstance(answer, str):
            name, what = self._name(bit), repr(answer)[:MAX_SHOWN]
            counts = f"counts as {bool(answer)}".lower()
            text = f"{name}.passes returned {what}, which {counts}: return True or False"
            self._report(f"{name} {type(answer)}", text)
        return bool(answer)

    def watching(self) -> AbstractContextManager[None]:
        """Watch the filters as long as the context lasts."""
        return every(TICK, self._look)

    def _look(self, frame: FrameType | None) -> None:
        now, turn = time.monotonic(), (self._turns, length_hint(self._turns or ()))
        if turn != self._turn:
            self._turn, self._since = turn, now
        if self._turns is None or frame is None or frame.f_code is Watchdog.passed.__code__:
            return
        took, name = now - self._since, self._names[-1 - turn[1]]
        if took > SLOW_TIMEOUT and name not in self._told:
            self._told.add(name)
            self._notice(
                f"{name} takes more than {SLOW_TIMEOUT:.0f} s for one alert:"
                f" it is stopped after {FILTER_TIMEOUT:.0f} s, and the alert fails"
            )
        if took > FILTER_TIMEOUT / max(len(self._stopped), 1):
            self._stopped.add(name)
            raise FilterTimeout("took too long for one alert")
