"""Filters: their base class, the hundred template filters, and loading users' own.

A filter is a class with a docstring and one method::

    from alertstream import AlertFilter

    class BrightAndBlue(AlertFilter):
        \"\"\"High-confidence detections brighter than magnitude 18 in g.\"\"\"

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
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar

from alertstream.alert.alert import Alert
from alertstream.alert.surveys.survey import flux_of
from alertstream.errors import AlertStreamError, FilterError, UsageError, error_line
from alertstream.kafka.topics import require_topic_name

TEMPLATES = 100
SNR_CUT = 5.0
MAGNITUDE_CUT = 20.0
FLUX_CUT = flux_of(MAGNITUDE_CUT)
"""nJy: 36,307.8, the flux at ``MAGNITUDE_CUT``."""


class AlertFilter:
    """Base class of all filters: write a docstring, ``passes``, and preferably ``fields``.

    ``fields`` names what ``passes`` looks at: quantities that all surveys have (``snr``,
    ``magnitude``, ``flux``, ``band``, ``ra``, ``dec``, ``mjd``, ``history``, …: the attributes of
    :class:`alertstream.Alert`) and dotted paths (``diaSource.reliability``). Only these
    are decoded then, which is many times faster. Without it, ``passes`` gets the whole alert.

    One instance sees the alerts of one process, in the order in which they are consumed.
    """

    fields: ClassVar[Sequence[str] | None] = None

    def passes(self, alert: Alert) -> bool:
        """Return whether the alert goes to the filter's topic.

        :param alert: a dict of the decoded fields, with the quantities as attributes. A missing
            number is NaN, with which every comparison is false; missing text, ids and values of
            paths are None.
        """
        raise NotImplementedError

    @property
    def topic(self) -> str:
        """The output topic: the class's name."""
        return type(self).__name__

    @property
    def description(self) -> str:
        """The first line of the class's docstring; empty if there is none."""
        return (type(self).__doc__ or "").strip().partition("\n")[0]

    @property
    def declared_in(self) -> str:
        """What names its fields, for error messages."""
        return f"fields of {type(self).__name__}"


class TemplateFilter(AlertFilter):
    """High-confidence and bright: SNR > 5 and brighter than AB magnitude 20."""

    fields = ("snr", "flux")

    def passes(self, alert: Alert) -> bool:
        """Return whether SNR and flux are both above the template's cuts."""
        return alert.snr > SNR_CUT and alert.flux > FLUX_CUT


class MirrorFilter(AlertFilter):
    """Passes everything, or everything of a visit."""

    def __init__(self, topic: str, visit: int | None = None) -> None:
        self._topic = topic
        self.visit = visit
        self.fields = () if visit is None else ("visit",)  # type: ignore[misc]

    @property
    def topic(self) -> str:
        """The output topic; a pattern means the names of the topics that it matches."""
        return self._topic

    @property
    def declared_in(self) -> str:
        """What it is on a command line."""
        return "--all" if self.visit is None else f"--all --visit {self.visit}"

    def passes(self, alert: Alert) -> bool:
        """Return whether it is of the visit, if there is one."""
        return self.visit is None or alert.visit == self.visit


def template_filter(number: int) -> type[TemplateFilter]:
    """Return the class ``Filter001`` for 1, and so on to 100."""
    return type(f"Filter{number:03}", (TemplateFilter,), {"__doc__": TemplateFilter.__doc__})


def choose_filters(names: Sequence[str], files: Sequence[Path] = ()) -> list[AlertFilter]:
    """Return the filters called ``names``, each once, in the order in which they are named.

    :param names: numbers (``1``), ranges (``1-100``) and class names; without any, all classes
        of ``files``.
    :param files: users' Python files, which are executed.
    :raises UsageError: there is no filter of a name.
    :raises FilterError: a file cannot be run, or defines no filter.
    """
    own = {name: found for file in files for name, found in load_filters(file).items()}
    chosen: dict[str, type[AlertFilter]] = {}
    for name in names or own:
        chosen |= {name: own[name]} if name in own else _template_filters(name, own)
    return [_instance(found) for found in chosen.values()]


def _template_filters(name: str, own: Iterable[str]) -> dict[str, type[AlertFilter]]:
    """Return the template filters called ``name``, a number or a range, by class name."""
    numbers = re.fullmatch(r"(?:Filter)?(\d+)(?:-(?:Filter)?(\d+))?", name)
    if numbers:
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if 1 <= first <= last <= TEMPLATES:
            return {f"Filter{n:03}": template_filter(n) for n in range(first, last + 1)}
        todo = f"give a number from 1 to {TEMPLATES}, or a range such as 1-10"
    elif near := get_close_matches(name, [*own, "Filter001"], n=1):
        todo = f"did you mean {near[0]}?"
    elif own:
        todo = f"the file defines {', '.join(own)}"
    else:
        todo = "give the file that defines it with --filters"
    raise UsageError(f"there is no filter {name}", todo=todo)


def load_filters(file: Path) -> dict[str, type[AlertFilter]]:
    """Run a user's file and return the filter classes that it defines, by name.

    :raises FilterError: the file cannot be run, or defines no filter.
    """
    spec = importlib.util.spec_from_file_location(f"alertstream_filters_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise FilterError("not a Python file", where=str(file), todo="its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, FileNotFoundError) and error.filename == spec.origin:
            raise FilterError("there is no such file", where=str(file)) from error
        raise _code_failed(error, str(file)) from error
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


def _instance(found: Callable[[], AlertFilter]) -> AlertFilter:
    try:
        made = found()
        topic, fields = made.topic, made.fields
        names = not isinstance(fields, str) and all(isinstance(each, str) for each in fields or ())
    except Exception as error:
        raise _code_failed(error) from error
    if not names:
        raise FilterError(
            "the fields are not names",
            where=type(made).__name__,
            todo='write them like this: fields = ("snr", "diaSource.reliability")',
        )
    require_topic_name(topic)
    return made


def _code_failed(error: BaseException, where: str | None = None) -> FilterError:
    if isinstance(error, AlertStreamError):
        # For example, a table of targets is missing.
        places = [each for each in (error.where, where) if each]
        return FilterError(error.what, where=" in ".join(places) or None, todo=error.todo)
    what = f"the filter's code raised {error_line(error)}"
    return FilterError(what, where=where, todo="fix it and rerun")


def union_of_fields(filters: Iterable[AlertFilter]) -> set[str] | None:
    """Return all fields that the filters declare; None if one wants the whole alert."""
    fields: set[str] = set()
    for each in filters:
        if each.fields is None:
            return None
        fields.update(each.fields)
    return fields


def group_name(topic: str, files: Iterable[Path] = (), output: str | None = None) -> str:
    """Return the consumer group of filters: it stays the same when filters are added or removed.

    :param topic: what is read.
    :param files: what defines users' own classes.
    :param output: the topic of what an expression passes.
    """
    own = [*(file.stem for file in files), *([output] if output else [])]
    return "-".join(["filter", topic, *own])
