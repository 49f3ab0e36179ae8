"""The errors that alertstream raises, all of one family.

Every error is one line for people: what happened, where, and what to do about it. What it quotes
from messages, servers and files cannot control their terminal.
Errors of other libraries are turned into these by the package that owns the library.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from traceback import extract_tb
from typing import Any

Notice = Callable[[str], None]
"""Takes a line for the user, maybe an Event, about a problem that does not end the work."""
LOG = logging.getLogger("alertstream")
notice: Notice = LOG.warning
"""Tells the user; the command line writes it to standard error."""


class Event(str):
    """A line for the user, with its details for programs."""

    level: str
    details: dict[str, Any]

    def __new__(cls, text: str, level: str = "warning", **details: Any) -> Event:
        """Return the line.

        :param level: ``info`` if nothing is wrong, else ``warning`` or ``error``.
        :param details: such as topic, partition, offset and cause.
        """
        event = super().__new__(cls, text)
        event.level, event.details = level, details
        return event


def info(text: str) -> Event:
    """Return a line that reports that all is well."""
    return Event(text, "info")


def printable(text: str, limit: int | None = None) -> str:
    """Return text from outside with its unprintable characters, which control terminals, replaced.

    :param limit: longer text is cut after so many characters.
    """
    line = text[:limit]
    if not line.isprintable():
        line = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line)
    return line if len(line) == len(text) else f"{line}..."


class AlertStreamError(Exception):
    """What went wrong, where, and what to do about it.

    :param what: what happened, in words for the user.
    :param where: the file, broker, topic or message concerned.
    :param todo: what the user can do about it.
    """

    exit_status = 1

    def __init__(self, what: str, *, where: str | None = None, todo: str | None = None) -> None:
        self.what = _line(what)
        self.where = where and _line(where)
        self.todo = todo and _line(todo)
        super().__init__(" · ".join(part for part in (self.what, self.where, self.todo) if part))


def _line(text: str) -> str:
    return printable(" ".join(text.split()))


class UsageError(AlertStreamError):
    """An option or argument is invalid."""

    exit_status = 2


class BrokerError(AlertStreamError):
    """Kafka cannot be reached, or did not answer as it should."""


class SecurityError(BrokerError):
    """Credentials, certificates or rights were refused."""


class TopicError(BrokerError):
    """A topic is missing, exists already, or cannot be made."""


class LocalBrokerError(AlertStreamError):
    """The local Kafka could not be fetched, started or stopped."""


class DataError(AlertStreamError):
    """A file or folder of alerts cannot be read or written."""


class SchemaError(AlertStreamError):
    """A schema is unknown, malformed, or contradicts another."""


class RegistryError(AlertStreamError):
    """A schema registry cannot be reached, or did not answer as it should.

    Not a :class:`SchemaError`, which makes messages undecodable for good.
    """


class UndecodableError(AlertStreamError):
    """A message or record is not an alert: ``what`` is the cause, always in the same words."""


class PictureError(AlertStreamError):
    """A cutout cannot be shown: ``what`` is the cause, always in the same words."""


class FilterError(AlertStreamError):
    """A filter's file cannot be run, or defines none."""

    exit_status = 2


class DeliveryError(AlertStreamError):
    """Alerts were not acknowledged, or an account does not add up.

    :param retriable: the cause may go away on its own, as when a broker is down.
    :param refused: Kafka rejected them, rather than not answering.
    """

    def __init__(
        self, what: str, *, retriable: bool = False, refused: bool = False, **more: str | None
    ) -> None:
        super().__init__(what, **more)
        self.retriable = retriable
        self.refused = refused


def error_line(error: BaseException) -> str:
    """Return an error raised by a user's code in one line, with its place in that code."""
    name = type(error).__name__
    if isinstance(error, AlertStreamError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"{name}: {error.msg} (line {error.lineno}: {(error.text or '').strip()})"
    try:
        said = _line(str(error))
    except Exception:
        said = "it cannot say what is wrong"
    frames = extract_tb(error.__traceback__)
    where = f" (line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return f"{name}: {said}{where}"
