"""Each filter's position, stored with the group's offsets, so that a group's filters can change.

With each offset, a group stores its filters. A new one starts at the group's position, or at the
partition's beginning. In the latter case the partition is read again from there, for the new filter
alone, until it has caught up with the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from alertstream.errors import Notice, UsageError, info
from alertstream.kafka.messages import BeginningOffsets, Message, Offsets, next_offsets

MAX_FILTERS = 500
"""Filters of a group: Kafka stores 4096 characters with an offset, by default."""
MAX_NAMED = 5
"""Filters that a notice names."""


class FilterOffsets:
    """Says which filters a message is for, and what is stored with the offset after it.

    :param topics: the filters' output topics, by whose names a group knows them.
    :param keys: a key of the same length for each of them.
    :param from_beginning: whether a filter that is new to the group starts at the oldest message
        that Kafka has, or else at the group's position.
    :param notice: told which filters are new, and how many have gone.
    :raises UsageError: there are too many filters.
    """

    def __init__(
        self,
        topics: Sequence[str],
        keys: Sequence[str],
        *,
        from_beginning: bool = False,
        notice: Notice = lambda text: None,
    ) -> None:
        if len(keys) > MAX_FILTERS:
            what = f"{len(keys)} filters are more than the {MAX_FILTERS} of a group"
            raise UsageError(what, todo="run some of them with another --group")
        self.all = (1 << len(keys)) - 1
        """The bits of all filters: bit 0 is the first one's."""
        self.ahead: dict[tuple[str, int], Sequence[tuple[int, int]]] = {}
        """By partition: offsets before which filters have had everything, and their bits."""
        self._topics = topics
        self._keys = keys
        self._from_beginning = from_beginning
        self._notice = notice
        self._told = False

    def due(self, message: Message) -> int:
        """Return the bits of the filters that have not had a message yet."""
        due = self.all
        for until, filters in self.ahead.get(message[:2], ()):
            if message.offset < until:
                due &= ~filters
        return due

    def after(self, messages: Sequence[Message], more: Mapping[str, Any]) -> Offsets:
        """Return where partitions continue after messages, with the texts to store."""
        offsets = next_offsets(messages, self._text((), more))
        for each in offsets.keys() & self.ahead.keys():
            offsets[each] = (offsets[each][0], self.text(each, offsets[each][0], more))
        return offsets

    def text(self, partition: tuple[str, int], offset: int, more: Mapping[str, Any]) -> str:
        """Return the text to store with an offset: the filters' positions, and ``more``."""
        ahead = [each for each in self.ahead.get(partition, ()) if each[0] > offset]
        return self._text(ahead, more)

    def _text(self, ahead: Sequence[tuple[int, int]], more: Mapping[str, Any]) -> str:
        kept = {**more, "filters": "".join(self._keys)}
        if ahead:
            kept["ahead"] = [(at, f"{filters:x}") for at, filters in ahead]
        return json.dumps(kept)

    def resume(self, offsets: Offsets, begins: BeginningOffsets) -> Offsets:
        """Return where to read partitions from, and the texts to store there.

        :param offsets: the group's, or where it begins; without a text of ours, all filters are
            at the offset.
        :param begins: the oldest offsets that Kafka has.
        """
        self.ahead.clear()
        new: set[int] = set()
        gone: set[str] = set()
        resumed: Offsets = {}
        for partition, (offset, text) in offsets.items():
            kept = _kept(text)
            had = self._had(kept, offset)
            first = begins[partition] if self._from_beginning else max(had.values(), default=offset)
            at = [had.get(key, first) for key in self._keys]
            next_ = min(at)
            beyond = sorted({each for each in at if each > next_})
            if beyond:
                self.ahead[partition] = [
                    (each, sum(1 << n for n, then in enumerate(at) if then == each))
                    for each in beyond
                ]
            new |= {n for n, key in enumerate(self._keys) if key not in had}
            gone |= had.keys() - {*self._keys}
            more = {name: kept[name] for name in kept.keys() - {"filters", "ahead"}}
            resumed[partition] = (next_, self.text(partition, next_, more))
        self._tell(sorted(new), len(gone))
        return resumed

    def read_from_beginning(self, partition: tuple[str, int]) -> None:
        """Take note that a partition has lost its end: all filters get all messages again."""
        self.ahead.pop(partition, None)

    def _had(self, kept: Mapping[str, Any], offset: int) -> dict[str, int]:
        """Return the positions of a group's filters, by key."""
        size = len(self._keys[0]) if self._keys else 1
        with suppress(KeyError, TypeError, ValueError):
            text = kept["filters"]
            keys = [text[n : n + size] for n in range(0, len(text), size)]
            had = dict.fromkeys(keys, offset)
            for until, filters in kept.get("ahead", ()):
                ahead = int(filters, 16)
                had |= {key: int(until) for n, key in enumerate(keys) if ahead >> n & 1}
            return had
        return dict.fromkeys(self._keys, offset)

    def _tell(self, new: Sequence[int], gone: int) -> None:
        """Say once how the group's filters have changed."""
        if self._told or not (new or gone):
            return
        self._told = True
        if new:
            names = ", ".join(self._topics[n] for n in new[:MAX_NAMED])
            names += f" and {len(new) - MAX_NAMED} more" * (len(new) > MAX_NAMED)
            how = "begin at the topic's beginning, and the others go on after that"
            if not self._from_beginning:
                how = "begin where the group is; --new-filters-from earliest: at the beginning"
            self._notice(info(f"new to the group: {names} · they {how}"))
        if gone:
            self._notice(f"filters that the group does not run any more: {gone}")


def _kept(text: str) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    return {}
