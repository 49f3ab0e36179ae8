"""A topic to a person or a program: every Nth alert as a line of text or JSON, and its images."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from alertstream.codec import MessageDecoder, schema_id_of
from alertstream.cutouts import save_cutouts
from alertstream.errors import DeliveryError, Position, UndecodableError
from alertstream.kafka import ORIGIN, REASON, Message, Offsets
from alertstream.schemas import Schemas
from alertstream.stats import Causes
from alertstream.stream import Stream, next_offsets
from alertstream.survey import LSST, SURVEYS, Alert, field_paths

TAI_MINUS_UTC = timedelta(seconds=37)
MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
WRITTEN_TOGETHER = 1_000_000
"""Characters of lines that are written at once."""
SHOWN = (
    "source_id",
    "object_id",
    "mjd",
    "ra",
    "dec",
    "band",
    "magnitude",
    "magnitude_error",
    "flux",
    "snr",
    "history",
)
"""Quantities that a line of text shows."""
HEX_SHOWN = 32
"""Bytes that a text shows of an undecodable message."""
_ORIGIN = (("topic", str), ("partition", int), ("offset", int), ("timestamp", int))
HEADING = (
    f"{'SOURCE':>19}  {'OBJECT':>19}  {'TIME (UTC)':19}  {'RA':>9} {'DEC':>9}  BAND"
    f"  {'MAGNITUDE':>14}  {'SNR':>7}  HIST"
)


@dataclass(frozen=True)
class PrintOptions:
    """Which alerts to show, and how.

    :param interval: every how many-th alert.
    :param count: how many at most, with undecodable ones; 0 is no limit.
    :param json: a line of JSON a message, instead of text for people.
    :param fields: dotted paths and quantities to show; empty is everything (JSON) or a summary.
    :param images: JSON has bytes in base64, instead of just their number.
    :param stamp_dir: folder that gets the cutouts as files.
    :param visit: the visit whose alerts are shown alone, with what is undecodable.
    """

    interval: int = 1
    count: int = 0
    format: str = "text"
    fields: tuple[str, ...] = ()
    images: bool = False
    stamp_dir: Path | None = None
    visit: int | None = None

    @property
    def json(self) -> bool:
        """Whether a line is an object in JSON."""
        return self.format == "json"

    def paths(self) -> set[str] | None:
        """Return the fields to decode; None is all."""
        if self.json and not self.fields:
            return None
        paths = field_paths([*(self.fields or SHOWN), *(["visit"] if self.visit else [])])
        if self.stamp_dir:
            paths |= field_paths(["source_id"])
            paths |= {field for survey in SURVEYS for field in survey.cutouts.values()}
        return paths


@dataclass
class PrintAccount:
    """What became of the messages: ``read == printed + skipped + undecodable``.

    ``saved`` are those that are in files, with what is undecodable if the files take it.
    """

    read: int = 0
    printed: int = 0
    undecodable: int = 0
    stamps: int = 0
    saved: int = 0
    files: list[Path] = field(default_factory=list)

    @property
    def shown(self) -> int:
        """Messages of which there is a line."""
        return self.printed + self.undecodable

    @property
    def skipped(self) -> int:
        """Messages between those that were to be shown."""
        return self.read - self.shown


class Saver(Protocol):
    """Takes alerts and what is undecodable, to save it in files.

    ``durable`` says that what is flushed stays, whatever comes after; else it stays once all is
    closed. ``saved`` counts what is written.
    """

    durable: bool
    keeps_undecodable: bool

    @property
    def saved(self) -> int:
        """Alerts and messages that are written."""

    def add(self, message: Message, alert: Alert) -> None:
        """Take an alert."""

    def add_undecodable(self, message: Message) -> None:
        """Take a message that is no alert."""

    def flush(self) -> None:
        """Write what was taken."""

    def close(self) -> list[Path]:
        """Write the rest; return the files."""


async def print_stream(
    stream: Stream,
    schemas: Schemas,
    options: PrintOptions,
    *,
    stop: asyncio.Event,
    write: Callable[[list[str]], Awaitable[None]],
    notice: Callable[[str], None] = lambda text: None,
    saver: Saver | None = None,
) -> PrintAccount:
    """Show alerts, and what of undecodable messages is known, until ``stop`` or the stream's end.

    The group's offsets move when what they stand for is written.

    :param write: takes lines of output, without their ends; it may take its time.
    :param notice: called when a message cannot be decoded, once per cause.
    :param saver: takes what is shown; it is closed at the end.
    :raises DataError: a cutout or another file cannot be written.
    :raises DeliveryError: other than what was shown has been saved.
    """
    account = PrintAccount()
    decoder = MessageDecoder(schemas, options.paths())
    causes = Causes()
    lines = _heading(options)
    unsaved: Offsets = {}

    async def hand_over() -> None:
        if lines:
            taken = lines.copy()
            lines.clear()
            await write(taken)
        if saver is not None:
            await asyncio.to_thread(saver.flush)

    async for batch in stream.batches(stop):
        if not await schemas.ready((each.value for each in batch), stop, notice):
            break
        async with stream.working:
            done = 0
            for message in batch:
                done += 1
                account.read += 1
                if (account.read - 1) % options.interval:
                    continue
                try:
                    alert = Alert(decoder.decode(message.value))
                    if options.visit is not None and alert.visit != options.visit:
                        continue
                    _show(message, alert, options, account, lines.append)
                    if saver is not None:
                        saver.add(message, alert)
                except UndecodableError as error:
                    account.undecodable += 1
                    _show_undecodable(message, error.what, options, lines.append)
                    if saver is not None:
                        saver.add_undecodable(message)
                    if causes.is_new(error.what):
                        notice(f"undecodable message: {error.what} · {_place(message)}")
                if options.count and account.shown >= options.count:
                    break
                if sum(map(len, lines)) > WRITTEN_TOGETHER:
                    await hand_over()
            await hand_over()
            unsaved |= next_offsets(batch[:done])
            if saver is None or saver.durable:
                await stream.commit(unsaved)
                unsaved = {}
        if options.count and account.shown >= options.count:
            break
    if saver is not None:
        account.files = await asyncio.to_thread(saver.close)
        account.saved = saver.saved
        if account.saved != (account.shown if saver.keeps_undecodable else account.printed):
            raise DeliveryError(
                f"{account.shown} shown, but {account.saved} saved",
                todo="this should not happen: please report it",
            )
        await stream.commit(unsaved)
    return account


def _heading(options: PrintOptions) -> list[str]:
    if options.format == "csv":
        return [csv_line(options.fields or SHOWN)]
    return [] if options.json or options.fields else [HEADING]


def _place(message: Message) -> Position:
    return Position(message.topic, message.partition, message.offset)


def _show(
    message: Message,
    alert: Alert,
    options: PrintOptions,
    account: PrintAccount,
    write: Callable[[str], None],
) -> None:
    try:
        line = _line(message, alert, options)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise UndecodableError("fields of other types than a survey's") from error
    if options.stamp_dir:
        account.stamps += len(save_cutouts(alert, options.stamp_dir))
    write(line)
    account.printed += 1


def _line(message: Message, alert: Alert, options: PrintOptions) -> str:
    shown: dict[str, Any] = alert
    if options.format == "csv":
        return csv_line([plain(alert.value(name)) for name in options.fields or SHOWN])
    if options.fields:
        shown = {name: alert.value(name) for name in options.fields}
    if options.json:
        return json_line(message, {"alert": plain(shown, images=options.images)})
    if options.fields:
        return printable("  ".join(f"{name}={plain(value)}" for name, value in shown.items()))
    return printable(text_line(alert))


def _show_undecodable(
    message: Message, cause: str, options: PrintOptions, write: Callable[[str], None]
) -> None:
    """Show what is known of a message: why it was set aside, if it was, and where it comes from."""
    if options.format == "csv":
        return
    headers = dict(message.headers)
    reason = (headers.get(REASON) or b"").decode(errors="replace") or cause
    origin, content = _origin(headers.get(ORIGIN)), message.value or b""
    if options.json:
        known = {"alert": None, "undecodable": reason, "origin": origin, "size": len(content)}
        if options.images:
            known["content"] = base64.b64encode(content).decode()
        write(json_line(message, known))
        return
    parts = [f"{_place(message)}  undecodable: {reason}"]
    if origin:
        place = Position(origin["topic"], origin["partition"], origin["offset"])
        parts.append(f"from {place} of {_milliseconds(origin['timestamp'])}")
    schema_id = schema_id_of(content)
    parts += [f"{len(content)} bytes"] + ([] if schema_id is None else [f"schema id {schema_id}"])
    write(printable(" · ".join(parts)))
    if content:
        rest = " …" if len(content) > HEX_SHOWN else ""
        write(f"    {content[:HEX_SHOWN].hex(' ')}{rest}")


def _origin(header: bytes | None) -> dict[str, Any] | None:
    """Return where a copied message comes from; None if no header says so, or says it wrongly."""
    try:
        stated = json.loads(header or b"")
        origin = {name: stated[name] for name, kind in _ORIGIN if type(stated[name]) is kind}
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if len(origin) < len(_ORIGIN):
        return None
    return origin | {"topic": printable(origin["topic"])}


def printable(text: str) -> str:
    """Return what comes from a stream without anything that a terminal would obey."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _milliseconds(timestamp: int) -> str:
    try:
        return f"{datetime.fromtimestamp(timestamp / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, OSError, ValueError):
        return f"{timestamp} ms"


def plain(value: Any, *, images: bool = False) -> Any:
    """Return a decoded value as strict JSON can hold it.

    NaN and infinities become null, times ISO 8601, bytes their number or (``images``) base64.
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


def json_line(message: Message, known: dict[str, Any]) -> str:
    """Return a message and what is known of its content as a line of strict JSON."""
    return json.dumps(
        {
            "topic": message.topic,
            "partition": message.partition,
            "offset": message.offset,
            "timestamp": message.timestamp,
            "schema_id": schema_id_of(message.value),
            **known,
        },
        allow_nan=False,
        ensure_ascii=False,
    )


def csv_line(values: Iterable[Any]) -> str:
    """Return plain values as a line of CSV (RFC 4180); null is empty, a list is JSON."""
    cells = [json.dumps(each) if isinstance(each, dict | list) else each for each in values]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def text_line(alert: Alert) -> str:
    """Return an alert as a line to read, under ``HEADING``."""
    if alert.magnitude > 0:
        brightness = f"{alert.magnitude:6.3f} ± {alert.magnitude_error:.3f}"
    elif math.isfinite(alert.flux):
        brightness = f"{alert.flux:9.0f} nJy"
    else:
        brightness = "-"
    values: Sequence[str] = (
        f"{alert.source_id!s:>19}",
        f"{alert.object_id or '-'!s:>19}",
        f"{_utc(alert):19}",
        f"{alert.ra:9.5f} {alert.dec:+9.5f}",
        f"{alert.band or '-':^4}",
        f"{brightness:>14}",
        f"{alert.snr:7.1f}" if math.isfinite(alert.snr) else f"{'-':>7}",
        f"{alert.history:4}",
    )
    return "  ".join(values)


def _utc(alert: Alert) -> str:
    try:
        time = MJD_EPOCH + timedelta(days=alert.mjd, milliseconds=500)
        utc = time - TAI_MINUS_UTC if alert.survey is LSST else time
    except (OverflowError, ValueError):
        return f"MJD {alert.mjd:.5f}"
    return f"{utc:%Y-%m-%d %H:%M:%S}"
