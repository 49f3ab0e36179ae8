"""Bundles alerts into messages: the first goes at once, later ones share a message."""

from __future__ import annotations

import math
from dataclasses import dataclass

from alertstream.reading.decoder import ReceivedAlert

MAX_LISTED = 10
"""Alerts that one message lists; of further ones it says how many there are."""


@dataclass(frozen=True)
class Bundle:
    """The alerts of a message: ``count`` of them, of which the first are ``listed``."""

    listed: list[ReceivedAlert]
    count: int


class Bundler:
    """Bundles alerts, so that messages are at least ``interval`` seconds apart."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = -math.inf
        self._listed: list[ReceivedAlert] = []
        self.count = 0
        """Alerts that wait."""

    @property
    def has_room(self) -> bool:
        """Whether the next alert will be listed."""
        return self.count < MAX_LISTED

    def add(self, alert: ReceivedAlert) -> None:
        """Take an alert."""
        if self.has_room:
            self._listed.append(alert)
        self.count += 1

    def is_due(self, now: float) -> bool:
        """Return whether there is a message to send at ``now``, in seconds of any clock."""
        return self.count > 0 and now >= self._next

    def take(self, now: float) -> Bundle:
        """Return what waits, for a message that is sent at ``now``."""
        bundle = Bundle(self._listed, self.count)
        self._next = now + self._interval
        self.clear()
        return bundle

    def clear(self) -> None:
        """Discard what waits: it will be read again."""
        self._listed, self.count = [], 0
