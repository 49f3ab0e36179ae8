"""``--log-format``: what goes to standard error, as lines for people or as JSON."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from alertstream.errors import LOG, Event


class LogFormatter(logging.Formatter):
    """Makes text for people of what is logged, or an object of one line for programs."""

    json = False

    def format(self, record: logging.LogRecord) -> str:
        """Return the text, or time (UTC), level, message, pid, and what else is known."""
        if not self.json:
            return super().format(record)
        event = record.msg if isinstance(record.msg, Event) else Event("", record.levelname.lower())
        try:
            message = record.getMessage()
        except (TypeError, ValueError) as error:
            message = f"{record.msg} ({error})"
        found = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": event.level,
            "message": message,
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
    LogFormatter.json = format == "json"
    logging.captureWarnings(LogFormatter.json)
    return format


def log_as_asked(arguments: Sequence[str], configured: str | None = None) -> None:
    """Log as the options or the environment ask for, also if the command line cannot be parsed.

    :param configured: what the configuration file says.
    """
    asked = re.search(r"--log-format[ =](\w+)", " ".join(arguments))
    format = asked[1] if asked else os.environ.get("ALERTSTREAM_LOG_FORMAT", configured)
    if format:
        log_as(format.lower())
