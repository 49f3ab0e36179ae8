"""The errors that alertstream raises, all of one family.

::

    AlertStreamError            exit status 1
    ├── UsageError              exit status 2: an option or argument is invalid
    ├── BrokerError             Kafka cannot be reached, or did not answer as it should
    │   ├── SecurityError       credentials, certificates or rights were refused
    │   └── TopicError          a topic is missing, exists already, or cannot be made
    ├── LocalBrokerError        the local Kafka could not be fetched, started or stopped
    ├── DataError               a file or folder of alerts cannot be read or written
    ├── SchemaError             a schema is unknown, malformed or contradicts another
    ├── RegistryError           a schema registry cannot be reached, or did not answer as it should
    ├── UndecodableError        a message or record cannot be decoded as an alert
    ├── PictureError            a cutout cannot be shown as an image
    ├── FilterError             a filter's file cannot be run, or its code fails
    └── DeliveryError           alerts were not acknowledged, or an account does not add up

Every error is one line for people: what happened, where, and what to do about it.
Errors of other libraries are turned into these by the package that owns the library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Notice = Callable[[str], None]
"""Takes a line for the user about what goes wrong without ending the work."""


@dataclass(frozen=True)
class Position:
    """Where a message is: topic, partition and offset."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class AlertStreamError(Exception):
    """What went wrong, where, and what to do about it.

    :param what: what happened, in words for the user.
    :param where: the file, broker, topic or message concerned.
    :param todo: what the user can do about it.
    """

    exit_status = 1

    def __init__(
        self, what: str, *, where: str | Position | None = None, todo: str | None = None
    ) -> None:
        self.what = what
        self.where = where
        self.todo = todo
        parts = [what, None if where is None else str(where), todo]
        super().__init__(" · ".join(_one_line(part) for part in parts if part))


def _one_line(text: str) -> str:
    return " ".join(text.split())


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
    """A message or record is not an alert: ``what`` is the cause, the same for all of its kind."""


class PictureError(AlertStreamError):
    """A cutout cannot be shown as an image: ``what`` is the cause, the same for all of its kind."""


class FilterError(AlertStreamError):
    """A filter's file cannot be run, or its code fails."""


class DeliveryError(AlertStreamError):
    """Alerts were not acknowledged, or an account does not add up.

    :param retriable: the cause may go away by itself, as when a broker is down.
    :param refused: Kafka has rejected them, instead of not answering.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | Position | None = None,
        todo: str | None = None,
        retriable: bool = False,
        refused: bool = False,
    ) -> None:
        super().__init__(what, where=where, todo=todo)
        self.retriable = retriable
        self.refused = refused
