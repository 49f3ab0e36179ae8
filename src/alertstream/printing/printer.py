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
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from alertstream.alert.alert import Alert
from alertstream.alert.cutouts import save_cutouts, save_picture
from alertstream.alert.light_curve import detection_paths, light_curve_paths
from alertstream.alert.surveys import cutout_paths, field_paths
from alertstream.alert.text import PLAIN, Look, alert_text, heading, printable
from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import schema_id_of
from alertstream.errors import DataError, DeliveryError, Position, UndecodableError
from alertstream.kafka.consumer import Consumer
from alertstream.kafka.messages import ORIGIN, REASON, Message, Offsets, next_offsets
from alertstream.reading.decoder import AlertDecoder, ReportedOnce, Undecodable, decodable

if TYPE_CHECKING:
    from alertstream.alert.pictures import Triplet

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


@dataclass(frozen=True)
class PrintOptions:
    """Which alerts to show, and how.

    :param interval: every how many-th alert.
    :param count: how many at most, with undecodable ones; 0 is no limit.
    :param json: a line of JSON a message, instead of text for people.
    :param fields: dotted paths and quantities to show; empty is everything (JSON) or a summary.
    :param images: JSON has bytes in base64, instead of just their number.
    :param stamp_dir: folder that gets the cutouts as files.
    :param stamp_format: as which: FITS as they came (``fits``), a picture (``png``), or both.
    :param pictures: pictures are drawn for other purposes, too.
    :param light_curves: the alert's history is shown elsewhere.
    :param visit: the visit whose alerts are shown alone, with what is undecodable.
    :param look: how text for people looks.
    """

    interval: int = 1
    count: int = 0
    format: str = "text"
    fields: tuple[str, ...] = ()
    images: bool = False
    stamp_dir: Path | None = None
    stamp_format: str = "fits"
    pictures: bool = False
    light_curves: bool = False
    visit: int | None = None
    look: Look = PLAIN

    @property
    def json(self) -> bool:
        """Whether a line is an object in JSON."""
        return self.format == "json"

    def paths(self) -> set[str] | None:
        """Return the fields to decode; None is all."""
        if self.json and not self.fields:
            return None
        paths = field_paths([*(self.fields or SHOWN), *(["visit"] if self.visit else [])])
        if self.format == "text" and not self.fields:
            paths |= detection_paths()
        if self.stamp_dir or self.draws:
            paths |= field_paths(SHOWN if self.draws else ["source_id"])
            paths |= cutout_paths()
        if self.light_curves:
            paths |= light_curve_paths()
        return paths

    @property
    def draws(self) -> bool:
        """Whether pictures are drawn."""
        return self.pictures or (self.stamp_dir is not None and self.stamp_format != "fits")


@dataclass
class PrintAccount:
    """What became of the messages: ``read == printed + skipped + undecodable``.

    ``stamps`` and ``pictures`` are files, ``not_shown`` are cutouts that are no images; ``saved``
    has for each saver how many it has taken, and the files where they are.
    """

    read: int = 0
    printed: int = 0
    undecodable: int = 0
    stamps: int = 0
    pictures: int = 0
    not_shown: int = 0
    saved: list[tuple[int, list[Path]]] = field(default_factory=list)

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
    closed. ``draws`` says that it wants pictures, and ``saved`` counts what it has taken.
    """

    durable: bool
    keeps_undecodable: bool

    @property
    def draws(self) -> bool:
        """Whether pictures are wanted."""

    @property
    def saved(self) -> int:
        """Alerts and messages that were taken, as far as flushed."""

    def prepare(
        self, message: Message, alert: Alert, picture: Triplet | None
    ) -> Callable[[], None]:
        """Return what takes an alert, so that all savers take it or none does.

        :raises UndecodableError, ArithmeticError, TypeError, ValueError: it has odd types.
        """

    def add_undecodable(self, message: Message) -> None:
        """Take a message that is no alert."""

    def flush(self) -> None:
        """Write what was taken."""

    def close(self) -> list[Path]:
        """Write the rest; return the files."""


Draw = Callable[["Triplet"], str]


async def print_stream(
    consumer: Consumer,
    schemas: Schemas,
    options: PrintOptions,
    *,
    stop: asyncio.Event,
    write: Callable[[list[str]], Awaitable[None]],
    notice: Callable[[str], None] = lambda text: None,
    savers: Sequence[Saver] = (),
    draw: Draw | None = None,
) -> PrintAccount:
    """Show alerts, and what of undecodable messages is known, until ``stop`` or the stream's end.

    The group's offsets move when what they stand for is written.

    :param write: takes lines of output, without their ends; it may take its time.
    :param notice: called when a message cannot be decoded or a cutout not shown, once per cause.
    :param savers: take what is shown; they are closed at the end.
    :param draw: returns a picture as text that draws it in a terminal.
    :raises DataError: a cutout or another file cannot be written.
    :raises DeliveryError: other than what was shown has been saved.
    """
    account = PrintAccount()
    decoder = AlertDecoder(schemas, options.paths(), notice)
    lines = _heading(options)
    show = _Showing(options, account, ReportedOnce(notice), lines.append, savers, draw)
    unsaved: Offsets = {}

    async def refuse_others() -> None:
        if unsaved:
            raise DataError(
                "the group has got another member, which reads again what no file has yet",
                todo="save as .avro, or let one member alone save a table",
            )

    async def hand_over() -> None:
        if lines:
            taken = lines.copy()
            lines.clear()
            await write(taken)
        for saver in savers:
            await asyncio.to_thread(saver.flush)

    batches = consumer.batches(stop, after_rebalance=refuse_others)
    async for batch in decodable(batches, decoder, stop):
        async with consumer.rebalance_lock:
            done = 0
            for message in batch:
                done += 1
                account.read += 1
                if (account.read - 1) % options.interval:
                    continue
                alert = decoder.decode(message)
                if not isinstance(alert, Undecodable):
                    if options.visit is not None and alert.visit != options.visit:
                        continue
                    try:
                        if options.draws:
                            # A picture takes some 20 ms, and Kafka must hear of us meanwhile.
                            await asyncio.to_thread(show, message, alert)
                        else:
                            show(message, alert)
                    except UndecodableError as error:
                        alert = decoder.reject(message, error.what)
                if isinstance(alert, Undecodable):
                    account.undecodable += 1
                    _show_undecodable(message, alert.cause, options, lines.append)
                    for saver in savers:
                        saver.add_undecodable(message)
                if (options.count and account.shown >= options.count) or stop.is_set():
                    break
                if sum(map(len, lines)) > WRITTEN_TOGETHER:
                    await hand_over()
            await hand_over()
            unsaved |= next_offsets(batch[:done])
            if all(saver.durable for saver in savers):
                await consumer.commit(unsaved)
                unsaved = {}
        if options.count and account.shown >= options.count:
            break
    for saver in savers:
        files = await asyncio.to_thread(saver.close)
        account.saved.append((saver.saved, files))
        if saver.saved != (account.shown if saver.keeps_undecodable else account.printed):
            raise DeliveryError(
                f"{account.shown} shown, but {saver.saved} saved",
                todo="this should not happen: please report it",
            )
    await consumer.commit(unsaved)
    return account


def _heading(options: PrintOptions) -> list[str]:
    if options.format == "csv":
        return [csv_line(options.fields or SHOWN)]
    return [] if options.json or options.fields else [heading(options.look)]


@dataclass(frozen=True)
class _Showing:
    """Shows an alert: its line, its cutouts as files, its picture wherever that is wanted."""

    options: PrintOptions
    account: PrintAccount
    report: ReportedOnce
    write: Callable[[str], None]
    savers: Sequence[Saver] = ()
    draw: Draw | None = None

    def __call__(self, message: Message, alert: Alert) -> None:
        line = line_of(message, alert, self.options)
        try:
            shown = self._picture(alert)
            taken = [saver.prepare(message, alert, shown) for saver in self.savers]
        except (ArithmeticError, TypeError, ValueError) as error:
            raise UndecodableError("fields of other types than a survey's") from error
        for take in taken:
            take()
        if self.options.stamp_dir:
            self._save(alert, shown, self.options.stamp_dir)
        self.write(line)
        if shown:
            self._tell(message, shown)
            if self.draw:
                self.write(self.draw(shown))
        self.account.printed += 1

    @property
    def _drawn(self) -> bool:
        """Whether there is anywhere for a picture to go."""
        if self.options.stamp_dir and self.options.stamp_format != "fits":
            return True
        return self.draw is not None or any(saver.draws for saver in self.savers)

    def _picture(self, alert: Alert) -> Triplet | None:
        if not self._drawn:
            return None
        from alertstream.alert.pictures import triplet

        return triplet(alert)

    def _save(self, alert: Alert, shown: Triplet | None, folder: Path) -> None:
        wanted = self.options.stamp_format
        # What no picture shows is kept as it came, so that nothing is lost.
        only = shown.causes if shown and wanted == "png" else None
        if wanted != "png" or only:
            self.account.stamps += len(save_cutouts(alert, folder, only))
        if shown and wanted != "fits":
            from alertstream.alert.pictures import picture, png

            save_picture(alert, png(picture(shown)), folder)
            self.account.pictures += 1

    def _tell(self, message: Message, shown: Triplet) -> None:
        for cause in shown.causes.values():
            self.account.not_shown += 1
            kept = " · kept as it is" if self.options.stamp_dir else ""
            self.report(cause, f"cutout that cannot be shown: {cause} · {message.position}{kept}")


def line_of(message: Message, alert: Alert, options: PrintOptions) -> str:
    """Return the line that shows an alert.

    :raises UndecodableError: it has fields of other types than a survey's.
    """
    try:
        return _line(message, alert, options)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise UndecodableError("fields of other types than a survey's") from error


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
    return alert_text(alert, options.look)


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
    parts = [f"{message.position}  undecodable: {reason}"]
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
