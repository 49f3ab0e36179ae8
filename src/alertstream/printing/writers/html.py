"""Writes alerts to a self-contained HTML page: pictures, light curves, a sortable table.

Its content comes from a stream: jinja2 escapes every text, and the page forbids loading anything
from elsewhere.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from alertstream.alert.light_curve import BAND_COLOURS, MAX_VALUE, light_curve_paths
from alertstream.alert.pictures import NAMES, Triplet, png, strip
from alertstream.alert.surveys import cutout_paths, field_paths
from alertstream.alert.text import SHOWN, links, match_lines
from alertstream.errors import Notice
from alertstream.printing.writers import Writer
from alertstream.printing.writers.plot import AREA, plot
from alertstream.reading.decoder import ReceivedAlert
from alertstream.system.extras import extra
from alertstream.system.files import Part, writing

with extra("images", "pages"):
    from jinja2 import Environment, FileSystemLoader

MAX_ALERTS = 1_000
"""Alerts that a page holds."""
EDGE, GAP = 96, 2
"""Of the images, pixel."""
MAX_TEXT = 60
_BESIDES = ("visit", "reliability")


class HtmlPage(Writer):
    """Writes alerts to a page, which appears only when complete.

    :param topic: where the alerts are from.
    :param notice: called if the page has no room for some alerts.
    :param keep: keep an existing page, and write another one beside it.
    :raises DataError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        topic: str,
        notice: Notice = lambda text: None,
        limit: int = MAX_ALERTS,
        *,
        keep: bool = False,
    ) -> None:
        self._template = _template()
        self._path = path
        self._notice = notice
        self._limit = limit
        self._keep = keep
        # As long as there is room for one more alert.
        self.wants_pictures = True
        self._nonce = secrets.token_urlsafe(16)
        with writing(path):
            self._part = Part.first_free(path) if keep else Part(path)
        self._write(self._template.head(topic, self._nonce))

    def __exit__(self, *_: object) -> None:
        self._part.discard()

    def _write(self, text: str) -> None:
        with writing(self._path):
            self._part.file.write(text.encode(errors="replace"))

    def paths(self) -> set[str]:
        """Return all that a row shows."""
        return field_paths([*SHOWN, *_BESIDES]) | cutout_paths() | light_curve_paths()

    def prepare(self, alert: ReceivedAlert, triplet: Triplet | None) -> Callable[[], None]:
        """Return a function that adds an alert's row, or counts it if there is no room."""
        if not self.wants_pictures:
            return partial(self._add, "")
        images = base64.b64encode(png(strip(triplet, EDGE, GAP))).decode() if triplet else ""
        described = _described(triplet) if triplet else ""
        row = self._template.row(alert, links(alert), images, described, plot(alert))
        return partial(self._add, str(row))

    def _add(self, row: str) -> None:
        self._write(row)
        self.saved += 1
        self.wants_pictures = self.saved < self._limit

    def close(self) -> list[Path]:
        """Write the rest; return the file, which is there now."""
        if self._keep and not self.saved:
            return []
        shown = min(self.saved, self._limit)
        more = self.saved - shown
        written = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        self._write(self._template.tail(shown, more, self._limit, written, self._nonce))
        with writing(self._path):
            path = self._part.finish()
        if more:
            self._notice(f"{path} shows the first {shown} alerts; {more} more are not on it")
        return [path]


def _described(triplet: Triplet) -> str:
    """Return what the picture lacks, for people; empty if nothing."""
    absent = [
        f"{name.lower()}: {triplet.causes.get(name, 'none')}"
        for name in NAMES
        if name not in triplet.panels
    ]
    panels = triplet.panels.items()
    unturned = [name.lower() for name, panel in panels if panel.stamp.sky.scale is None]
    if unturned:
        which = "" if len(unturned) == len(panels) else f"{', '.join(unturned)} "
        absent.append(f"{which}not turned: no WCS")
    return "; ".join(absent)


def _short(value: int | str | None) -> str:
    return "–" if value is None else str(value)[:MAX_TEXT]


def _number(value: float, form: str) -> str:
    return format(value, form) if abs(value) < MAX_VALUE else ""


def _template() -> Any:
    """Return the macros of the page."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    environment.filters |= {"short": _short, "number": _number, "match_lines": match_lines}
    environment.globals |= {
        "colours": {band: on_white for band, (on_white, _) in BAND_COLOURS.items()},
        "images": {"width": 3 * EDGE + 2 * GAP, "height": EDGE},
        "area": AREA,
    }
    return environment.get_template("page.html").module
