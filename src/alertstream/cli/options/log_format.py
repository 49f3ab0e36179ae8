"""``--log-format``: what goes to standard error, as lines for people or as JSON."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from alertstream.errors import LOG, Event


class JsonFormatter(logging.Formatter):
    """Makes an object of one line of what is logged, by this package or by others."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object: time (UTC), level, message, pid, and what else is known."""
        event = record.msg if isinstance(record.msg, Event) else Event("", record.levelname.lower())
        found = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": event.level,
            "message": record.getMessage(),
            "pid": record.process,
        }
        if record.name != LOG.name:
            found["logger"] = record.name
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        details = {name: each for name, each in event.details.items() if each is not None}
        return json.dumps(found | details, default=str)


def log_as(format: str) -> str:
    """Have everything logged in a format from now on: text or json."""
    formatter = JsonFormatter() if format == "json" else None
    for each in LOG.handlers:
        each.setFormatter(formatter)
    if formatter and logging.lastResort:
        # It writes what a filter of a user's logs, or has Python warn of.
        logging.lastResort.setFormatter(formatter)
        logging.captureWarnings(True)
    return format


def log_as_asked(arguments: Sequence[str], configured: str | None = None) -> None:
    """Log as the options or the environment ask for, also if the command line cannot be parsed.

    :param configured: what the configuration file says.
    """
    asked = re.search(r"--log-format[ =](\w+)", " ".join(arguments))
    format = asked[1] if asked else os.environ.get("ALERTSTREAM_LOG_FORMAT", configured)
    if format:
        log_as(format.lower())
