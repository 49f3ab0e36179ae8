"""Alerts selected by filters, for commands that write no topics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain
from typing import Literal

from alertstream.alert.surveys import field_paths
from alertstream.avro.schemas import Schemas
from alertstream.errors import Notice
from alertstream.filtering.filters import AlertFilter, union_of_fields
from alertstream.filtering.watchdog import Watchdog
from alertstream.kafka.messages import Message, encode_matches
from alertstream.reading.decoder import AlertDecoder, ReceivedAlert, ReportedOnce, Undecodable


class Selection:
    """Chooses alerts by filters.

    :param alternatives: groups of filters: an alert has to pass one filter of each.
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

    def paths(self) -> set[str] | None:
        """Return the dotted paths to decode; None is all."""
        fields = union_of_fields(self._filters)
        return None if fields is None else field_paths(fields)

    def passes(self, alert: ReceivedAlert) -> bool | None:
        """Return whether an alert is chosen; None if a filter's code failed and no other passes it.

        Its ``matches`` become those of all filters that pass it.
        """
        with self._watchdog.watching():
            passed, failed = self._watchdog.passed(alert)
        if all(passed & group for group in self._groups):
            if alert.matches_by_turn:
                said = [*chain.from_iterable(self._watchdog.matched(alert, passed).values())]
                alert.turns = ()
                alert.matches[:] = [each for at, each in enumerate(said) if each not in said[:at]]
            return True
        return None if failed else False


class SelectingDecoder(AlertDecoder):
    """Decodes alerts that are chosen; of others, no more than is needed to choose.

    :param paths: dotted paths of the fields to decode of what is chosen; None decodes everything.
    :param selection: chooses alerts; None chooses all.
    :param visit: chooses its alerts only; None chooses all.
    :param thin: returns what is left of a message that is chosen.
    """

    def __init__(
        self,
        schemas: Schemas,
        paths: Collection[str] | None,
        notice: Notice,
        selection: Selection | None = None,
        *,
        visit: int | None = None,
        thin: Callable[[Message], Message] = lambda message: message,
    ) -> None:
        # Two decoders see the same messages: report each cause once.
        report = ReportedOnce(notice)
        super().__init__(schemas, paths, report)
        self._selection = selection
        self._visit = visit
        self._thin = thin
        self._chooser: AlertDecoder | None = None
        if selection is not None or visit is not None:
            chosen_by = selection.paths() if selection is not None else set()
            needed = None if chosen_by is None else chosen_by | field_paths(["visit"])
            self._chooser = AlertDecoder(schemas, needed, report)
            self._chooser.undecodable = self.undecodable

    async def ready(self, messages: Iterable[Message], stop: asyncio.Event) -> bool:
        """Wait until the schemas of messages are there; return False if ``stop`` came first."""
        if self._chooser is not None and not await self._chooser.ready(messages, stop):
            return False
        return await super().ready(messages, stop)

    def select(
        self, message: Message, *, whole: bool = True
    ) -> ReceivedAlert | Undecodable | Literal["skipped", "failed"]:
        """Return a message's alert with what it matched, if it is chosen, or why there is none.

        It has failed if a filter's code did.

        :param whole: whether it is needed whole, or only to be chosen.
        """
        if self._chooser is None:
            return self.decode(self._thin(message))
        alert = self._chooser.decode(message)
        if isinstance(alert, Undecodable):
            return alert
        if self._visit is not None and alert.visit != self._visit:
            return "skipped"
        passes = self._selection.passes(alert) if self._selection is not None else True
        if not passes:
            return "failed" if passes is None else "skipped"
        if alert.matches_by_turn:
            try:
                message = message.with_matches(encode_matches(alert.matches))
            except ValueError as error:
                self._report(f"what a filter appends to alert.matches is left out: {error}")
        return self.decode(self._thin(message)) if whole else alert
