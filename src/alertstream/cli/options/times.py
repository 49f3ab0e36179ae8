"""Where reading starts and ends, as options say it: times of Kafka's, or offsets."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from alertstream.errors import UsageError

_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)


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
    # A day without its dashes would be a number, too, and is taken for an offset.
    if re.fullmatch(r"-?\d{1,18}" if others else r"\d{1,18}", text):
        return int(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        todo = f"give {others}an offset, or a time such as 2026-11-24T21:30"
        raise UsageError(f"{text} is not a valid {option}", todo=todo) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def observed(start: str | int | datetime, end: int | datetime | None) -> str:
    """Return how to read what was observed in a time, where nothing was sent; empty without one."""
    bounds = [
        f"mjd {sign} {(time - _MJD_EPOCH) / timedelta(days=1):.5f}"
        for sign, time in ((">=", start), ("<", end))
        if isinstance(time, datetime)
    ]
    if not bounds:
        return ""
    how = f"--where '{' and '.join(bounds)}' without them"
    return f"nothing was sent to Kafka in this time (--from, --until); of an observation's: {how}"
