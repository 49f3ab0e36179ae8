"""Alerts as a message for people: a title, a text by a template, and a picture of the cutouts."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from types import FrameType
from typing import Any

from alertstream.alert.light_curve import light_curve_paths
from alertstream.alert.surveys import cutout_paths, field_paths
from alertstream.alert.text import SHOWN, light_curve_text, links, match_lines, sexagesimal
from alertstream.errors import Notice, PictureError, UndecodableError, UsageError, printable
from alertstream.filtering.watchdog import FILTER_TIMEOUT
from alertstream.kafka.messages import Message as KafkaMessage
from alertstream.printing.lines import types_expected
from alertstream.printing.notifications.bundling import Bundle
from alertstream.reading.decoder import ReceivedAlert, ReportedOnce
from alertstream.system.alarm import every
from alertstream.system.extras import extra

with extra("notify", "messages"):
    from jinja2 import ChainableUndefined, TemplateSyntaxError, meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_PICTURES = 5
"""Alerts of a message whose cutouts are in its picture."""
LAST_MOMENT = 0.1
"""Seconds that a template may take for an alert if those before have taken too long."""
MAX_NAME = 100
"""Characters of a name that a stream gives."""
TITLE = (
    "{% if alone %}{{ matched or name }}: {{ alert.band }} {{ brightness }}"
    "{% else %}{{ '{:,}'.format(count) }} alerts in {{ topic }}{% endif %}"
)
_NAME = "<template>"
"""The file name that jinja2 gives to a template that is a string."""
_VARIABLES = (
    *("alert", "name", "matched", "matches", "brightness", "position", "light_curve"),
    *("aladin", "simbad", "topic", "count", "alone"),
)


@dataclass(frozen=True)
class Message:
    """What people get; ``picture`` is a PNG file."""

    title: str
    text: str
    picture: bytes | None = None


class Composer:
    """Writes messages.

    :param topic: where the alerts are from.
    :param template: file with jinja2's template of an alert's text; None: our own.
    :param title: template of a message's title; None: our own.
    :param pictures: whether there is anyone to show pictures to.
    :param notice: called when a template fails on an alert, whose text then is our own.
    :raises UsageError: a template is not valid.
    """

    def __init__(
        self,
        topic: str,
        template: Path | None = None,
        title: str | None = None,
        *,
        pictures: bool = True,
        notice: Notice = lambda text: None,
    ) -> None:
        self._topic = topic
        self._pictures = pictures
        self._report = ReportedOnce(notice)
        own = Path(__file__).with_name("alert.txt").read_text(encoding="utf-8")
        self._own = {"text": _Template(own, "alert.txt"), "title": _Template(TITLE, "title")}
        self._templates = dict(self._own)
        self._decodes_all = template is not None or title is not None
        if template is not None:
            try:
                source = template.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or "it is not text"
                raise UsageError(
                    f"the template cannot be read: {why}", where=f"{template}"
                ) from error
            self._templates["text"] = _Template(source, str(template))
        if title is not None:
            self._templates["title"] = _Template(title, "--title")
        empty = ReceivedAlert({}, KafkaMessage(topic, 0, 0, 0, None, None))
        for each in self._templates.values():
            try:
                each.render(_described(empty, topic, 1))
            except _Failed as error:
                todo = "it must do with alerts that lack values, as in {% if alert.snr > 5 %}"
                if isinstance(error.__cause__, TimeoutError | OverflowError):
                    todo = "it must come to an end: see its loops"
                raise UsageError(f"{error.args[0]}", where=each.at(error), todo=todo) from error

    def paths(self) -> set[str] | None:
        """Return the dotted paths to decode; None is all."""
        if self._decodes_all:
            return None
        images = cutout_paths() if self._pictures else set()
        return field_paths([*SHOWN, "designation"]) | light_curve_paths() | images

    def message(self, bundle: Bundle) -> Message:
        """Return the message that tells of alerts, without a picture.

        Only in the main thread is a template stopped that takes too long.
        """
        until = time.monotonic() + FILTER_TIMEOUT
        texts = [self._rendered("text", each, bundle.count, until) for each in bundle.listed]
        more = bundle.count - len(texts)
        if bundle.count > 1:
            first = f", the first {len(texts)}" if more else ""
            texts.insert(0, f"{bundle.count:,} alerts in {self._topic}{first}:")
        if more:
            texts.append(f"and {more:,} more")
        title = self._rendered("title", bundle.listed[0], bundle.count, until)
        return Message(" ".join(title.split()), "\n\n".join(texts))

    def _rendered(self, which: str, alert: ReceivedAlert, count: int, until: float) -> str:
        """Return a template filled in, or our own if it fails."""
        template = self._templates[which]
        try:
            with types_expected():
                described = _described(alert, self._topic, count)
        except UndecodableError as error:
            return f"{alert.message.position}: {error.what}"
        try:
            return template.render(described, until - time.monotonic())
        except _Failed as error:
            cause = f"{template.at(error)}: {error.args[0]}"
            self._report(cause, f"a template fails on alerts, which have our own · {cause}")
            return self._own[which].render(described)

    def picture(self, alerts: Sequence[ReceivedAlert]) -> bytes | None:
        """Return the cutouts of the first alerts; None if there are none."""
        if not self._pictures:
            return None
        from alertstream.alert.pictures import below_each_other, picture, png, triplet

        drawn = []
        for each in alerts[:MAX_PICTURES]:
            try:
                with types_expected():
                    shown = triplet(each)
                    if shown and shown.panels:
                        drawn.append(picture(shown))
            except (PictureError, UndecodableError) as error:
                self._report(error.what, f"cutouts cannot be shown: {error.what}")
        return png(below_each_other(drawn)) if drawn else None


class _Missing(ChainableUndefined):
    """A missing value: no comparison with it is true, and results computed from it are missing."""

    def _itself(self, *_: object) -> Any:
        return self

    def _no(self, _: object) -> Any:
        return False

    def _nan(self) -> Any:
        return math.nan

    # jinja2 raises an error in all of them.
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _itself
    __truediv__ = __rtruediv__ = __neg__ = __abs__ = __round__ = _itself
    __lt__ = __le__ = __gt__ = __ge__ = _no
    __float__ = _nan


class _Failed(Exception):
    """A template cannot be filled in: why, and in which line."""


class _Template:
    def __init__(self, source: str, where: str) -> None:
        """Compile a template; :raises UsageError: it is not valid."""
        self._where = where
        environment = ImmutableSandboxedEnvironment(
            undefined=_Missing, finalize=_shown, trim_blocks=True, lstrip_blocks=True
        )
        try:
            unknown = meta.find_undeclared_variables(environment.parse(source)) - {*_VARIABLES}
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            place = f"{where}, line {error.lineno}"
            raise UsageError(f"the template is not valid: {error.message}", where=place) from error
        if unknown:
            known = ", ".join(sorted(_VARIABLES))
            what = f"the template names what is not there: {', '.join(sorted(unknown))}"
            raise UsageError(what, where=where, todo=f"there are: {known}")

    def at(self, error: _Failed) -> str:
        return f"{self._where}, line {error.args[1]}"

    def render(self, variables: dict[str, Any], timeout: float = FILTER_TIMEOUT) -> str:
        """Fill it in; :raises _Failed: its own code failed, or took longer than ``timeout``."""

        def stop(_: FrameType | None) -> None:
            raise TimeoutError(f"it takes more than {FILTER_TIMEOUT:.0f} s")

        try:
            with every(max(timeout, LAST_MOMENT), stop):
                return str(self._template.render(variables)).strip()
        except Exception as error:
            frames = extract_tb(error.__traceback__)
            line = [each.lineno for each in frames if each.filename == _NAME]
            raise _Failed(f"{type(error).__name__}: {error}", line[-1] if line else 1) from error


def _shown(value: Any) -> str:
    """Return a value as text for a message, without anything that controls a terminal."""
    if value is None or isinstance(value, _Missing) or value != value:
        return "-"
    return "\n".join(map(printable, str(value).split("\n")))


def _described(alert: ReceivedAlert, topic: str, count: int) -> dict[str, Any]:
    """Return the variables of templates for one of ``count`` alerts.

    :raises ArithmeticError, TypeError, ValueError: its fields have unexpected types.
    """
    name = alert.designation or alert.object_id or alert.source_id or alert.message.position
    shown = links(alert) or ("", "")
    matches = alert.matches
    target = next((each["target"] for each in matches if each.get("target")), "")
    magnitude = " mag" if alert.magnitude > 0 else ""
    return {
        "alert": alert,
        "name": printable(str(name), MAX_NAME),
        "matched": printable(str(target), MAX_NAME),
        "matches": match_lines(matches),
        "brightness": f"{alert.brightness}{magnitude}",
        "position": sexagesimal(alert.ra, alert.dec),
        "light_curve": light_curve_text(alert),
        "aladin": shown[0],
        "simbad": shown[1],
        "topic": topic,
        "count": count,
        "alone": count == 1,
    }
