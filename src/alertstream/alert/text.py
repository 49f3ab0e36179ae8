"""An alert as text to read: where, when, how bright, and its history as a sparkline."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from alertstream.alert.alert import Alert
from alertstream.alert.light_curve import MAX_VALUE, Measurement, light_curve
from alertstream.errors import printable

SHOWN = (
    *("source_id", "object_id", "mjd", "ra", "dec", "band"),
    *("magnitude", "magnitude_error", "flux", "snr", "history", "science_magnitude"),
)
"""The quantities that a line of text shows."""
BARS = "▁▂▃▄▅▆▇█"
"""From faint to bright."""
LIMIT = "↓"
"""Where nothing was seen."""
SPARKLINE_WIDTH = 20

MAX_MATCH_LINES, MAX_MATCH_TEXT = 5, 200
"""What an alert matched that is shown, and characters of each."""
MAX_SEPARATION = 180 * 3600

_GAP, _INDENT = "  ", "  "
_MIN_RANGE = 0.1
"""As a fraction of the flux: less variation than that is shown as constant."""

Paint = Callable[[str, str], str]
"""Returns a text in the colour of a band: ``paint(text, band)``."""


@dataclass(frozen=True)
class Look:
    """How text looks where it is read.

    :param width: columns of the terminal, into which an alert is broken; 0 is one line, however
        long.
    :param mark: returns a band's name in its colour.
    :param draw: returns bars of a band in its colour. Without it, a sparkline shows the alert's
        own band only, since nothing would tell bands apart.
    """

    width: int = 0
    mark: Paint = lambda text, band: text
    draw: Paint | None = None


PLAIN = Look()

_COLUMNS = {
    "SOURCE": ">19",
    "OBJECT": ">19",
    "BAND": "^4",
    "CHANGE (AB MAG)": ">19",
    "SCIENCE": ">7",
    "SNR": ">7",
    "TIME (UTC)": "<19",
    "MJD": "<15",
    "RA, DEC (ICRS)": "<25",
    "RA, DEC (deg)": "<19",
    "HISTORY": f"<{3 + 2 + 6 + 2 + SPARKLINE_WIDTH}",
}
"""How each is aligned, and how wide it is."""


def heading(look: Look = PLAIN) -> str:
    """Return what stands above the columns of :func:`alert_text`."""
    names = (f"{name:{form}}" for name, form in _COLUMNS.items())
    return _flow([(name, len(name)) for name in names], look.width)


def alert_text(alert: Alert, look: Look = PLAIN) -> str:
    """Return an alert as a line, or several where the terminal is narrow.

    :raises ArithmeticError, TypeError, ValueError: its fields have unexpected types.
    """
    band = printable(str(alert.band or "-"))
    texts = (
        printable(str(alert.source_id)),
        printable(str(alert.object_id or "-")),
        band,
        alert.brightness,
        f"{alert.science_magnitude:.3f}" if math.isfinite(alert.science_magnitude) else "-",
        f"{alert.snr:.1f}" if math.isfinite(alert.snr) else "-",
        alert.utc,
        f"{alert.mjd:11.5f} {alert.time_scale}",
        sexagesimal(alert.ra, alert.dec),
        f"{alert.ra:9.5f} {alert.dec:+9.5f}",
        "",
    )
    aligned = [f"{text:{form}}" for text, form in zip(texts, _COLUMNS.values(), strict=True)]
    cells = [(text, len(text)) for text in aligned]
    cells[2] = (look.mark(aligned[2], band), len(aligned[2]))
    cells[-1] = (_history(alert, look), len(aligned[-1]))
    matches = (f"\n{_INDENT}match  {each}" for each in match_lines(alert.matches))
    return "".join((_flow(cells, look.width), *matches))


def match_lines(matches: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what an alert matched, a line each: ``M31 in targets.csv, 0.42 arcsec``."""
    lines = []
    for each in matches[:MAX_MATCH_LINES]:
        rest = dict(each)
        named = [rest.pop(name, None) for name in ("target", "in")]
        parts = [" in ".join(str(name) for name in named if name is not None)]
        separation = rest.get("separation")
        if isinstance(separation, int | float) and 0 <= separation <= MAX_SEPARATION:
            parts.append(f"{rest.pop('separation'):.2f} arcsec")
        parts += (f"{name} {value}" for name, value in rest.items())
        lines.append(printable(", ".join(part for part in parts if part), MAX_MATCH_TEXT))
    if len(matches) > MAX_MATCH_LINES:
        lines.append(f"and {len(matches) - MAX_MATCH_LINES} more")
    return lines


def _flow(cells: Iterable[tuple[str, int]], width: int) -> str:
    """Return cells side by side, in lines of ``width`` columns; 0 is one line.

    :param cells: texts, and the columns that each takes, which colours do not.
    """
    lines: list[list[str]] = [[]]
    used = 0
    for text, columns in cells:
        if width and lines[-1] and used + columns > width:
            lines.append([])
            used = len(_INDENT)
        used += columns + len(_GAP)
        lines[-1].append(text)
    joined = (_GAP.join(line).rstrip() for line in lines)
    return f"\n{_INDENT}".join(joined)


def sexagesimal(ra: float, dec: float) -> str:
    """Return a position, deg, in hours and degrees, minutes and seconds; ``-`` if it is not one."""
    if not (0 <= ra <= 360 and -90 <= dec <= 90):
        return "-"
    hours, milliseconds = divmod(round(ra * 240_000) % 86_400_000, 3_600_000)
    degrees, hundredths = divmod(round(abs(dec) * 360_000), 360_000)
    return (
        f"{hours:02}:{milliseconds // 60_000:02}:{milliseconds % 60_000 / 1000:06.3f} "
        f"{'-' if dec < 0 else '+'}{degrees:02}:{hundredths // 6000:02}:"
        f"{hundredths % 6000 / 100:05.2f}"
    )


def _history(alert: Alert, look: Look) -> str:
    """Return how many earlier detections there are, over how many days, and the sparkline."""
    if not alert.history > 0:
        return "  -" if math.isnan(alert.history) else "  0"
    measured = [each for each in light_curve(alert, alert.survey) if each.kind != "forced"]
    days = alert.mjd - measured[0].mjd if measured else math.nan
    span = f"{days:.{0 if days >= 100 else 1}f} d" if 0 <= days < MAX_VALUE else "-"
    return f"{alert.history:3}{_GAP}{span:>6}{_GAP}{_sparkline(alert.band, measured, look.draw)}"


def light_curve_text(alert: Alert) -> str:
    """Return the history as a line of bars for each band that has been measured twice."""
    measured = [each for each in light_curve(alert, alert.survey) if each.kind != "forced"]
    bands = dict.fromkeys(each.band for each in measured)
    bars = {band: _sparkline(band, measured, None).rstrip() for band in bands}
    return "\n".join(f"{band or '-'} {text}" for band, text in bars.items() if text)


def links(alert: Alert) -> tuple[str, str] | None:
    """Return where Aladin Lite and SIMBAD show an alert's place; None if it has none."""
    if not (0 <= alert.ra <= 360 and -90 <= alert.dec <= 90):
        return None
    target = f"{alert.ra:.6f}%20{alert.dec:+.6f}".replace("+", "%2B")
    return (
        f"https://aladin.cds.unistra.fr/AladinLite/?target={target}&fov=0.05",
        f"https://simbad.cds.unistra.fr/simbad/sim-coo?Coord={target}&Radius=10&Radius.unit=arcsec",
    )


def _sparkline(band: str | None, measured: Sequence[Measurement], draw: Paint | None) -> str:
    """Return brightness as bars, time to the right; of several within one bar, the latest.

    Time covers all measurements. Less than two of them to draw make no sparkline.

    :param band: of what is drawn where there are no colours.
    """
    drawn = [each for each in measured if draw or each.band == band]
    if len(drawn) < 2:
        return ""
    height = _heights([each.value for each in drawn if each.kind != "limit"])
    first, last = measured[0].mjd, measured[-1].mjd
    bars: list[tuple[str, str | None]] = [(" ", None)] * SPARKLINE_WIDTH
    # Detections cover limits.
    for each in sorted(drawn, key=lambda each: (each.kind != "limit", each.mjd)):
        place = (each.mjd - first) / (last - first) if last > first else 1.0
        bar = LIMIT if each.kind == "limit" else BARS[height(each.value)]
        bars[round(place * (SPARKLINE_WIDTH - 1))] = (bar, each.band)
    parts = []
    for band, together in groupby(bars, key=lambda bar: bar[1]):
        text = "".join(character for character, _ in together)
        parts.append(draw(text, band) if draw and band else text)
    return "".join(parts)


def _heights(values: Sequence[float]) -> Callable[[float], int]:
    """Return a function from a flux to its bar; little variation is drawn level."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    spare = max(_MIN_RANGE * max(abs(low), abs(high)) - (high - low), 0.0) / (len(BARS) - 1)
    # A constant flux gets one bar's height, instead of lying between two.
    low, high = low - 3 * spare, high + 4 * spare
    return lambda value: round((value - low) / ((high - low) or 1.0) * (len(BARS) - 1))
