"""Send, filter, print and monitor a sky survey's alert stream on Apache Kafka.

For programs there are :func:`read` and :func:`send`, and what these take: :class:`Connection`,
:class:`Alert`; filters are classes of :class:`AlertFilter`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alertstream.alert.alert import Alert
    from alertstream.errors import AlertStreamError
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
    "Connection",
    "ReceivedAlert",
    "__version__",
    "read",
    "send",
]

_HOMES = {
    "Alert": "alert.alert",
    "AlertFilter": "filtering.filters",
    "AlertStreamError": "errors",
    "Connection": "kafka.connection",
    "ReceivedAlert": "reading.decoder",
    "read": "reading.api",
    "send": "sending.api",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: ``alertstream --help`` has to answer at once."""
    if name == "__version__":
        from importlib.metadata import version

        return version("alertstream")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
