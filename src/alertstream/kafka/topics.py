"""Topics: how they are made, what is written to them, and patterns of their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate

from alertstream.errors import TopicError, UsageError
from alertstream.kafka._aiokafka.batches import OVERHEAD
from alertstream.kafka.connection import Connection

MAX_MESSAGE = 10 * 1024 * 1024
"""Bytes of the largest message that the topics made here take."""
HEADER_ALLOWANCE = 64 * 1024
"""Bytes that come on top of a message, such as the headers that a filter adds."""
BATCH_SIZE = 256 * 1024
"""Bytes that go to a partition in one piece, if alerts are smaller than that."""
UNDECODABLE_SUFFIX = "-undecodable"
"""Suffix of the topic for a topic's undecodable messages."""
STAND_IN_SUFFIX = "-partitions"
"""Suffix of the stand-in for a topic on another cluster."""
MAX_LISTED = 10
"""Topics that are named where one is missing."""
VISIT_CAPS_SUFFIX = "-visit-caps"
"""Suffix of the topic in which members of a group agree on their filters' caps."""


@dataclass(frozen=True)
class TopicLayout:
    """How a topic is made: None for ``replication`` is three, or as many as there are brokers."""

    partitions: int = 4
    replication: int | None = None


@dataclass(frozen=True)
class Topic:
    """A topic to write to.

    :param largest_batch: bytes of a batch that it takes (``max.message.bytes``); None is unknown,
        as without the right to ask for it.
    """

    name: str
    partitions: int
    largest_batch: int | None = None

    def batch_size(self, wanted: int = BATCH_SIZE) -> int:
        """Return the bytes of records to collect for a batch, if they are smaller than that."""
        return min(wanted, (self.largest_batch or BATCH_SIZE) - OVERHEAD)


def is_topic_name(name: str) -> bool:
    """Return whether Kafka lets a topic have this name."""
    return re.fullmatch(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}", name) is not None


def require_topic_name(name: str) -> None:
    """Refuse a name that no topic can have.

    :raises UsageError: it is one.
    """
    if not is_topic_name(name):
        todo = "use letters, digits, . _ and - only, 249 at most"
        raise UsageError(f"{name or repr(name)} is not a valid name for a topic", todo=todo)


def is_pattern(name: str) -> bool:
    """Return whether it stands for all topics that match it, as ``alerts-*`` does."""
    return any(each in name for each in "*?[")


def topic_pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Return the expression for topics' names, and patterns as of files.

    A pattern leaves out Kafka's own topics, undecodable messages, caps and stand-ins, unless it
    names them.
    """
    expressions = []
    for name in names:
        if not is_pattern(name):
            expressions.append(f"{re.escape(name)}$")
            continue
        suffixes = (UNDECODABLE_SUFFIX, VISIT_CAPS_SUFFIX, STAND_IN_SUFFIX)
        left_out = "|".join(each for each in suffixes if not name.endswith(each))
        hidden = "" if name.startswith("_") else "(?!_)"
        expressions.append(f"{hidden}(?!.*({left_out})$){translate(name)}")
    return re.compile("|".join(f"(?:{each})" for each in expressions))


def about_missing(found: Iterable[str], connection: Connection) -> str:
    """Return what to do about a topic that does not exist or is hidden from the user."""
    known = sorted(filter(topic_pattern(["*"]).match, found))
    if known:
        return f"topics there: {', '.join(known[:MAX_LISTED])}{' …' * (len(known) > MAX_LISTED)}"
    return "ask for the right to read it" if connection.has_rights else "send to it first"


def existing_topics(
    found: Mapping[str, int], names: Collection[str], connection: Connection
) -> dict[str, int]:
    """Return the partition counts of the topics that are named or match a pattern.

    :param found: the partition counts of all topics.
    :raises TopicError: one that is named does not exist.
    """
    for name in names:
        if name not in found and not is_pattern(name):
            hidden = ", or no right to see it" if connection.has_rights else ""
            raise TopicError(
                f"there is no topic {name}{hidden}",
                where=connection.bootstrap,
                todo=about_missing(found, connection),
            )
    pattern = topic_pattern(names)
    return {name: count for name, count in found.items() if pattern.match(name)}
