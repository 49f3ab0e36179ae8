"""Stops a filter that does not come to an end with an alert, and says which one it is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from operator import length_hint
from types import CodeType, FrameType

from alertstream.errors import Notice
from alertstream.system.alarm import every

SLOW_TIMEOUT = 1.0
"""Seconds that a filter may take for an alert before the user is told."""
FILTER_TIMEOUT = 2.0
"""Seconds that a filter may take for an alert; those that have taken longer share them."""
TICK = 0.1


class FilterTimeout(BaseException):
    """A filter takes too long. It is no :class:`Exception`, so that filters let it pass."""


class Watchdog:
    """Looks after filters that are run on alerts, one after the other.

    It costs them nothing: what runs shows in the iterator over them.

    :param names: the filters', in their order.
    :param judging: the code that runs them, which is not interrupted itself.
    """

    def __init__(self, names: Sequence[str], judging: CodeType, notice: Notice) -> None:
        self.turns: Iterator[object] | None = None
        """Over the filters while they run; None when none does."""
        self._names = names
        self._judging = judging
        self._notice = notice
        self._turn: tuple[object, int] = (None, 0)
        self._since = 0.0
        self._told: set[str] = set()
        self._stopped: set[str] = set()

    def watching(self) -> AbstractContextManager[None]:
        """Look after them as long as the context lasts."""
        return every(TICK, self._look)

    def _look(self, frame: FrameType | None) -> None:
        now, turn = time.monotonic(), (self.turns, length_hint(self.turns or ()))
        if turn != self._turn:
            self._turn, self._since = turn, now
        if self.turns is None or frame is None or frame.f_code is self._judging:
            return
        took, name = now - self._since, self._names[-1 - turn[1]]
        if took > SLOW_TIMEOUT and name not in self._told:
            self._told.add(name)
            self._notice(
                f"{name} takes more than {SLOW_TIMEOUT:.0f} s for one alert:"
                f" it is stopped after {FILTER_TIMEOUT:.0f} s, and the alert rejected"
            )
        if took > FILTER_TIMEOUT / max(len(self._stopped), 1):
            self._stopped.add(name)
            raise FilterTimeout("took too long for one alert")
