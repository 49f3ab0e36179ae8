"""A message as lines: text for people, JSON for programs, or CSV for tables."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from alertstream.alert.alert import Alert
from alertstream.alert.light_curve import detection_paths
from alertstream.alert.surveys import field_paths
from alertstream.alert.text import PLAIN, SHOWN, Look, alert_text, heading
from alertstream.errors import UndecodableError, printable
from alertstream.kafka.messages import ORIGIN, REASON, Message
from alertstream.reading.envelope import schema_id_in

MAX_HEX = 32
"""Bytes of an undecodable message that a text shows."""
_FORMULA = re.compile(r"(?![+-][0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?$)[=+\-@＝＋－＠].")
"""What spreadsheets take for a formula unless it is quoted; numbers are not."""
_PLACE = {"topic": str, "partition": int, "offset": int, "timestamp": int}
"""Where and when a message is, as JSON has it."""


@contextmanager
def types_expected() -> Iterator[None]:
    """Turn errors caused by an alert's fields of unexpected types into one of ours.

    :raises UndecodableError: there was one.
    """
    try:
        yield
    except (ArithmeticError, TypeError, ValueError) as error:
        raise UndecodableError("fields of unexpected types") from error


@dataclass(frozen=True, kw_only=True)
class LineFormat:
    """How messages are shown.

    :param format: ``text``, ``json``: one object per message, or ``csv``: one row per alert.
    :param fields: dotted paths and quantities to show; empty is everything (JSON) or a summary.
    :param images: JSON has bytes in base64, instead of just their number.
    :param look: how text looks.
    """

    format: str = "text"
    fields: tuple[str, ...] = ()
    images: bool = False
    look: Look = PLAIN

    def paths(self) -> set[str] | None:
        """Return the dotted paths to decode; None is all."""
        if self.fields or self.format == "csv":
            return field_paths(self.fields or SHOWN)
        return None if self.format == "json" else field_paths(SHOWN) | detection_paths()

    def heading(self) -> list[str]:
        """Return the lines above all others."""
        if self.format == "csv":
            return [_csv_row(self.fields or SHOWN)]
        return [] if self.format == "json" or self.fields else [heading(self.look)]

    @types_expected()
    def alert_line(self, message: Message, alert: Alert) -> str:
        """Return the line that shows an alert.

        :raises UndecodableError: it has fields of unexpected types.
        """
        if self.format == "csv":
            return _csv_row([plain(alert.value(name)) for name in self.fields or SHOWN])
        if self.format == "text" and not self.fields:
            return alert_text(alert, self.look)
        shown = {name: alert.value(name) for name in self.fields} if self.fields else alert
        if self.format == "json":
            match = {"match": plain(alert.match)} if alert.match else {}
            return _json_line(message, {**match, "alert": plain(shown, images=self.images)})
        return printable("  ".join(f"{name}={plain(value)}" for name, value in shown.items()))

    def undecodable_lines(self, message: Message, cause: str) -> list[str]:
        """Return what is known of a message that cannot be decoded.

        For a dead-lettered one, that includes the reason and its origin.
        """
        if self.format == "csv":
            return []
        headers = dict(message.headers)
        reason = (headers.get(REASON) or b"").decode(errors="replace") or cause
        origin = _origin(headers.get(ORIGIN))
        if self.format == "text":
            return _undecodable_text(message, reason, origin)
        content = message.value or b""
        known = {"alert": None, "undecodable": reason, "origin": origin, "size": len(content)}
        if self.images:
            known["content"] = base64.b64encode(content).decode()
        return [_json_line(message, known)]


def _undecodable_text(message: Message, reason: str, origin: dict[str, Any] | None) -> list[str]:
    content = message.value or b""
    parts = [f"{message.position}  undecodable: {reason}"]
    if origin:
        place = "{topic}[{partition}]@{offset}".format_map(origin)
        parts.append(f"from {place} of {time_text(origin['timestamp'])}")
    parts.append(f"{len(content)} bytes")
    if (schema_id := schema_id_in(message)) is not None:
        parts.append(f"schema id {schema_id}")
    lines = [printable(" · ".join(parts))]
    if content:
        rest = " …" if len(content) > MAX_HEX else ""
        lines.append(f"    {content[:MAX_HEX].hex(' ')}{rest}")
    return lines


def _origin(header: bytes | None) -> dict[str, Any] | None:
    """Return where a copied message comes from; None if no valid header says so."""
    try:
        stated = json.loads(header or b"")
        origin = {name: stated[name] for name in _PLACE}
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if any(type(origin[name]) is not kind for name, kind in _PLACE.items()):
        return None
    return origin | {"topic": printable(origin["topic"])}


def time_text(timestamp: int) -> str:
    """Return a message's time, ms since 1970, for people, even if it is outside the calendar."""
    try:
        return f"{datetime.fromtimestamp(timestamp / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, OSError, ValueError):
        return f"{timestamp} ms"


def plain(value: Any, *, images: bool = False) -> Any:
    """Return a decoded value as strict JSON can hold it.

    NaN and infinities become null, times ISO 8601, bytes their size or (``images``) base64.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode() if images else f"<{len(value)} bytes>"
    if isinstance(value, dict):
        return {key: plain(item, images=images) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, images=images) for item in value]
    if value is None or isinstance(value, str | int):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _json_line(message: Message, known: dict[str, Any]) -> str:
    """Return a message and what is known of its content as a line of strict JSON."""
    head = {name: getattr(message, name) for name in _PLACE}
    head["schema_id"] = schema_id_in(message)
    return json.dumps(head | known, allow_nan=False)


def _csv_row(values: Iterable[Any]) -> str:
    """Return plain values as a line of CSV (RFC 4180)."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(map(_csv_cell, values))
    return line.getvalue()


def _csv_cell(value: Any) -> Any:
    """Return a plain value as a cell: null is empty, a list is JSON, and no text is a formula."""
    if isinstance(value, dict | list):
        return json.dumps(value)
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) else text
