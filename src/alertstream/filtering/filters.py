"""Filters: what they are, the template's hundred, and how users' own are found.

A filter is a class with a docstring and one method::

    from alertstream.filtering.filters import AlertFilter

    class BrightAndBlue(AlertFilter):
        \"\"\"Certain detections brighter than magnitude 18 in g.\"\"\"

        fields = ("snr", "magnitude", "band")

        def passes(self, alert):
            return alert.snr > 10 and alert.magnitude < 18 and alert.band == "g"

``alertstream filter BROKER TOPIC --filters that_file.py`` runs it and writes what passes to the
topic ``BrightAndBlue``.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import traceback
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

from alertstream.alert.alert import AB_ZERO, Alert
from alertstream.errors import FilterError

TEMPLATES = 100
SNR_CUT = 5.0
MAGNITUDE_CUT = 20.0
FLUX_CUT = 10 ** (0.4 * (AB_ZERO - MAGNITUDE_CUT))
"""nJy, 36,307.8: what is brighter than ``MAGNITUDE_CUT`` has more."""


class AlertFilter:
    """Base class of all filters: write a docstring, ``passes``, and best also ``fields``.

    ``fields`` names what ``passes`` looks at: quantities that all surveys have (``snr``,
    ``magnitude``, ``flux``, ``band``, ``ra``, ``dec``, ``mjd``, ``history``, …: the attributes of
    :class:`alertstream.Alert`) and dotted paths (``diaSource.reliability``). Only these
    are decoded then, which is many times faster. Without it, ``passes`` gets the whole alert.

    One instance sees the alerts of one process, in the order in which they are consumed.
    """

    fields: ClassVar[Sequence[str] | None] = None

    def passes(self, alert: Alert) -> bool:
        """Return whether the alert goes to the filter's topic.

        :param alert: a dict of the decoded fields, with the quantities as attributes. A quantity
            that the alert lacks is NaN, which compares as false.
        """
        raise NotImplementedError

    @property
    def topic(self) -> str:
        """The output topic: the class's name."""
        return type(self).__name__

    @property
    def description(self) -> str:
        """The first line of the class's docstring, empty without any."""
        return (type(self).__doc__ or "").strip().partition("\n")[0]

    @property
    def declared_in(self) -> str:
        """What names its fields, for errors."""
        return f"fields of {type(self).__name__}"


class TemplateFilter(AlertFilter):
    """Certain and bright: SNR > 5 and brighter than AB magnitude 20."""

    fields = ("snr", "flux")

    def passes(self, alert: Alert) -> bool:
        """Return whether SNR and flux are both above the template's cuts."""
        return alert.snr > SNR_CUT and alert.flux > FLUX_CUT


def template_filter(number: int) -> type[TemplateFilter]:
    """Return the class ``Filter001`` for 1, and so on to 100."""
    return type(f"Filter{number:03}", (TemplateFilter,), {"__doc__": TemplateFilter.__doc__})


def choose_filters(names: Sequence[str], files: Sequence[Path] = ()) -> list[AlertFilter]:
    """Return the filters that ``names`` mean, each once, in the order in which they are named.

    :param names: numbers (``1``), ranges (``1-100``) and class names; without any, all classes
        of ``files``.
    :param files: users' Python files. They are code: they are run.
    :raises FilterError: a name means no filter, or a file cannot be run.
    """
    own = {name: found for file in files for name, found in load_filters(file).items()}
    chosen: dict[str, Callable[[], AlertFilter]] = {}
    for name in names or own:
        chosen |= _meant(name, own)
    return [_made(found) for found in chosen.values()]


def _meant(name: str, own: dict[str, type[AlertFilter]]) -> dict[str, type[AlertFilter]]:
    if name in own:
        return {name: own[name]}
    numbers = re.fullmatch(r"(?:Filter)?(\d+)(?:-(?:Filter)?(\d+))?", name)
    if numbers:
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if 1 <= first <= last <= TEMPLATES:
            return {f"Filter{n:03}": template_filter(n) for n in range(first, last + 1)}
        raise FilterError(
            f"no filter has the number {name}", todo=f"give 1 to {TEMPLATES}, or a range as 1-10"
        )
    near = get_close_matches(name, [*own, "Filter001"], n=1)
    known = f"its file has {', '.join(own)}" if own else "give the file it is in with --filters"
    raise FilterError(
        f"there is no filter {name}", todo=f"did you mean {near[0]}?" if near else known
    )


def load_filters(file: Path) -> dict[str, type[AlertFilter]]:
    """Run a user's file and return the filter classes that it defines, by name.

    :raises FilterError: the file cannot be run, or defines no filter.
    """
    spec = importlib.util.spec_from_file_location(f"alertstream_filters_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise FilterError("no Python file", where=str(file), todo="name it with .py at its end")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except FileNotFoundError as error:
        if error.filename != spec.origin:
            raise _failed(file, error) from error
        raise FilterError("there is no such file", where=str(file)) from error
    except (Exception, SystemExit) as error:
        raise _failed(file, error) from error
    found = {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, AlertFilter)
        and value.__module__ == module.__name__
        and value.passes is not AlertFilter.passes
    }
    if not found:
        raise FilterError(
            "the file defines no filter",
            where=str(file),
            todo="write a class that extends alertstream.AlertFilter and has passes()",
        )
    return found


def _made(found: Callable[[], AlertFilter]) -> AlertFilter:
    try:
        made = found()
        topic, fields = made.topic, made.fields
        texts = fields is None or all(isinstance(each, str) for each in fields)
    except Exception as error:
        raise _failed(None, error) from error
    if isinstance(fields, str) or not texts:
        raise FilterError(
            "the fields are no names",
            where=type(made).__name__,
            todo='write them as in: fields = ("snr", "diaSource.reliability")',
        )
    require_topic_name(topic)
    return made


def is_topic_name(name: str) -> bool:
    """Return whether Kafka lets a topic have this name."""
    return re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name) is not None


def require_topic_name(name: str) -> str:
    """Return ``name`` if a topic can have it.

    :raises FilterError: it cannot.
    """
    if not is_topic_name(name):
        raise FilterError(
            f"{name} cannot be a topic's name", todo="use letters, digits, . _ and - only"
        )
    return name


def _failed(file: Path | None, error: BaseException) -> FilterError:
    return FilterError(
        f"the filter's code fails with {error_line(error)}",
        where=str(file) if file else None,
        todo="mend it and start again",
    )


def error_line(error: BaseException) -> str:
    """Return an error of a user's code in one line, with the place in that code."""
    name = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{name}: {error.msg} (line {error.lineno}: {(error.text or '').strip()})"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return f"{name}: {error}"
    return f"{name}: {error} (line {frames[-1].lineno}: {frames[-1].line})"


def union_of_fields(filters: Iterable[AlertFilter]) -> set[str] | None:
    """Return all fields that the filters declare; None if one wants the whole alert."""
    fields: set[str] = set()
    for each in filters:
        if each.fields is None:
            return None
        fields.update(each.fields)
    return fields


def group_name(filters: Sequence[AlertFilter]) -> str:
    """Return the consumer group for exactly these filters."""
    topics = [each.topic for each in filters]
    if len(topics) <= 3:
        return "-".join(["filter", *topics])
    digest = sha256(" ".join(topics).encode()).hexdigest()[:8]
    return f"filter-{topics[0]}-{topics[-1]}-{len(topics)}-{digest}"
