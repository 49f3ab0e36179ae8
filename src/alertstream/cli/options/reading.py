"""Options of reading: as which group, where from, and how far.

There is no ``from __future__ import annotations``, as typer evaluates these where a command is
defined, not here.
"""

import getpass
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from alertstream.cli.options.shared import KafkaOptions, option_group
from alertstream.errors import UsageError, info, notice

if TYPE_CHECKING:
    from alertstream.kafka.connection import Connection
    from alertstream.kafka.subscription import Subscription

_what_to_read = option_group("What to read")

AUTO = "auto"
"""Stands for a group name derived from what is read."""
SELECTION = ("interval", "visit", "fields", "filters", "where")
"""Options that select alerts and fields."""
MAX_TOPICS = 100
"""Characters of topics' names in a group's name."""
_UNSAFE = re.compile(r"[^\w.-]")


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(KafkaOptions):
    """How topics are read: as which group, where from, and how far."""

    group: str | None = _what_to_read(
        None,
        "Consumer group that remembers what was read (filter always has one); auto: a name "
        "that follows from user, topics and selection.",
        "NAME",
        names=("--group", "-g"),
    )
    from_: str | None = _what_to_read(
        None,
        "Where to start: earliest (default), latest (notify's), a time, or an offset; -100: "
        "the last 100 offsets of each partition.",
        "WHERE",
        names=("--from",),
    )
    until: str | None = _what_to_read(None, "Stop before this time or offset.", "WHERE")
    exit_on_eof: bool = _what_to_read(
        False, "Stop at the current end of the topic.", names=("--exit-on-eof",)
    )
    group_prefix: str = _what_to_read("", "What group names must begin with on this Kafka.", "TEXT")

    def group_or(self, default: str | None) -> str | None:
        """Return the group's name, or ``default`` with the prefix that names must have here.

        :raises UsageError: the name lacks the prefix.
        """
        prefix = self.group_prefix
        if self.group == AUTO:
            return prefix + (default or "").removeprefix(prefix)
        if self.group and not self.group.startswith(prefix):
            raise UsageError(
                f"the group {self.group} does not begin with {prefix}",
                todo=f"choose one that does, as in --group {prefix}{self.group}",
            )
        return self.group or (default and f"{prefix}{default}")

    def subscription(
        self,
        *topics: str,
        group: str | None = None,
        instance: str | None = None,
        more: Sequence[str] = (),
    ) -> "Subscription":
        """Return the subscription, as ``group`` unless the user has named one.

        :param more: distinguishes groups ``auto``, besides the selection.

        :raises UsageError: an option is invalid.
        """
        from alertstream.kafka.subscription import Subscription

        if self.group == AUTO and group is None:
            group = own_group(self.username, str(self.context.command.name), topics, self, more)
        start, end = start_of(self.from_), end_of(self.until)
        return Subscription(topics, self.group_or(group), start, end, self.exit_on_eof, instance)

    def notice_nothing(self) -> None:
        """Explain, when nothing has come, which times ``--from`` and ``--until`` mean."""
        if said := observed(start_of(self.from_), end_of(self.until)):
            notice(said)

    async def notice_start(
        self, connection: "Connection", subscription: "Subscription", to: "Connection | None" = None
    ) -> None:
        """Report the group of ``auto``, or that ``--from`` has no effect.

        :param to: the cluster that keeps the group, if it is another one.
        """
        from alertstream.kafka.admin import has_committed
        from alertstream.kafka.topics import STAND_IN_SUFFIX

        group, topics = subscription.group, subscription.topics
        if self.group == AUTO:
            notice(info(f"the group is {group}: the same command goes on where it stopped"))
        kept = [f"{topic}{STAND_IN_SUFFIX}" for topic in topics] if to else topics
        if self.from_ and group and await has_committed(to or connection, group, kept):
            notice(f"the group {group} continues where it stopped: --from has no effect")


def own_group(
    user: str | None, command: str, topics: Sequence[str], options: object, more: Sequence[str] = ()
) -> str:
    """Return a group name that is the same for the same user, topics and selection.

    It begins with the user's name, as some streams require.

    :param user: name at Kafka; None is the one on this machine.
    :param options: has the ``SELECTION``, as far as the command takes it.
    :param more: what else distinguishes groups.
    """
    shown = [str(getattr(options, each, None)) for each in SELECTION]
    digest = sha256(json.dumps([*topics, *shown, *more]).encode()).hexdigest()[:8]
    names = "-".join(topics)[:MAX_TOPICS]
    return _UNSAFE.sub("_", f"{user or _user_here()}-{command}-{names}-{digest}")


def _user_here() -> str:
    # In a container, a user may have no name.
    with suppress(KeyError, OSError, ImportError):
        return getpass.getuser()
    return "nobody"


def start_of(text: str | None) -> str | int | datetime:
    """Return where to start: ``earliest``, ``latest``, an offset, or a time (ISO 8601, UTC).

    :raises UsageError: it is none of these.
    """
    if text in (None, "earliest", "latest"):
        return text or "earliest"
    return _time_or_offset(text, "--from", "earliest, latest, ")


def end_of(text: str | None) -> int | datetime | None:
    """Return where to end: at an offset, or a time; None is nowhere.

    :raises UsageError: it is none of these.
    """
    return None if text is None else _time_or_offset(text, "--until")


def _time_or_offset(text: str, option: str, others: str = "") -> int | datetime:
    # A date without dashes is a number, and counts as an offset.
    if re.fullmatch(r"-?\d{1,18}" if others else r"\d{1,18}", text):
        return int(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        todo = f"give {others}an offset, or a time such as 2026-11-24T21:30"
        raise UsageError(f"{text} is not a valid {option}", todo=todo) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def observed(start: str | int | datetime, end: int | datetime | None) -> str:
    """Return a hint on selecting by time of observation instead; empty without times."""
    from alertstream.alert.surveys.survey import MJD_EPOCH

    bounds = [
        f"mjd {sign} {(time - MJD_EPOCH) / timedelta(days=1):.5f}"
        for sign, time in ((">=", start), ("<", end))
        if isinstance(time, datetime)
    ]
    if not bounds:
        return ""
    how = f"--where '{' and '.join(bounds)}' without them"
    return f"nothing was sent to Kafka in this time (--from, --until); of an observation's: {how}"
