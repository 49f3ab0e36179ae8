"""Send, filter, print and monitor a sky survey's alert stream on Apache Kafka.

Programs use :func:`read` and :func:`send`, with :class:`Connection`, :class:`Alert` and
:class:`ReceivedAlert`; :func:`add_survey` adds a survey; filters derive from :class:`AlertFilter`,
and errors from :class:`AlertStreamError`. Everything else is internal, and may move.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from alertstream.errors import (
    AlertStreamError,
    BrokerError,
    DataError,
    DeliveryError,
    FilterError,
    LocalBrokerError,
    PictureError,
    RegistryError,
    SchemaError,
    SecurityError,
    TopicError,
    UndecodableError,
    UsageError,
)

if TYPE_CHECKING:
    from alertstream.alert.alert import Alert
    from alertstream.alert.surveys import add_survey
    from alertstream.filtering.filters import AlertFilter
    from alertstream.kafka.connection import Connection
    from alertstream.reading.api import read
    from alertstream.reading.decoder import ReceivedAlert
    from alertstream.sending.api import send

    __version__: str

__all__ = [
    "Alert",
    "AlertFilter",
    "AlertStreamError",
    "BrokerError",
    "Connection",
    "DataError",
    "DeliveryError",
    "FilterError",
    "LocalBrokerError",
    "PictureError",
    "ReceivedAlert",
    "RegistryError",
    "SchemaError",
    "SecurityError",
    "TopicError",
    "UndecodableError",
    "UsageError",
    "__version__",
    "add_survey",
    "read",
    "send",
]

_HOMES = {
    "Alert": "alert.alert",
    "AlertFilter": "filtering.filters",
    "Connection": "kafka.connection",
    "ReceivedAlert": "reading.decoder",
    "add_survey": "alert.surveys",
    "read": "reading.api",
    "send": "sending.api",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use: ``alertstream --help`` has to answer at once."""
    if name == "__version__":
        from importlib.metadata import version

        return version("alertstream")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
