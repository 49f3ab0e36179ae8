"""The surveys that are known: a table each, ``*.toml``, and those that a user adds.

A survey is recognised by its schema's name, or by the fields that only its schemas have. Quantities
then have the same names for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from alertstream.alert.surveys.survey import QUANTITIES as QUANTITIES
from alertstream.alert.surveys.survey import UNKNOWN, Survey
from alertstream.alert.surveys.tables import read_table
from alertstream.avro.schema_tree import Schema, Type, find, tree

OWN = ("lsst", "ztf", "elasticc", "atlas", "decam", "winter", "rapid", "rapid_1")
"""The tables beside this file."""

_added: dict[Path, Survey] = {}


@cache
def _own() -> tuple[Survey, ...]:
    folder = files(__name__)
    return tuple(read_table(folder / f"{name}.toml") for name in OWN)


def surveys() -> tuple[Survey, ...]:
    """Return the surveys that are known; those that users have added come first."""
    return (*_added.values(), *_own())


def add_survey(table: str | Path) -> Survey:
    """Make a survey known to this process by its table, a TOML file; return it.

    :raises UsageError: the file cannot be read, or is not valid.
    """
    path = Path(table).absolute()
    _added[path] = read_table(path)
    return _added[path]


def survey_of(schema: Schema) -> Survey:
    """Return the survey whose alerts are written with a parsed schema; ``UNKNOWN`` if none is.

    Its name decides, or else the most fields that a survey's schemas always have.
    """
    for survey in surveys():
        if any(fnmatchcase(schema["name"], pattern) for pattern in survey.schemas):
            return survey
    root = tree(schema)
    fitting = [each for each in surveys() if each.fields and all(_has(root, each.fields))]
    return max(fitting, key=lambda each: len(each.fields), default=UNKNOWN)


def survey_with(alert: Mapping[str, Any]) -> Survey:
    """Return the survey of which an alert has most fields; ``UNKNOWN`` if it has none of any.

    This is for alerts made by hand; otherwise the schema is known.
    """

    def fields_there(survey: Survey) -> tuple[int, bool]:
        own = alert.get(survey.detection) if survey.detection else alert
        there = own if isinstance(own, Mapping) else {}
        fields = {path[-1] for paths in survey.paths.values() for path in paths}
        return len(fields & there.keys()), survey.detection in alert

    best = max(surveys(), key=fields_there)
    return best if any(fields_there(best)) else UNKNOWN


def not_in_schema(survey: Survey, schema: Schema) -> list[str]:
    """Return a user's table's dotted paths for quantities of which a schema has no field."""
    if survey not in _added.values():
        return []
    root = tree(schema)
    named = (tuple(map(".".join, paths)) for paths in survey.paths.values())
    return [paths[0] for paths in named if not any(_has(root, paths))]


def _has(root: Type, paths: Iterable[str]) -> list[bool]:
    return [next(find(root, path.split(".")), None) is not None for path in paths]


def field_paths(names: Iterable[str]) -> set[str]:
    """Return the dotted paths to decode for ``names``: quantities and dotted paths, mixed.

    A quantity stands for its paths in all surveys and versions.
    """
    given = {*names}
    quantities = given & QUANTITIES
    return (given - QUANTITIES).union(*(each.field_paths(quantities) for each in surveys()))


def cutout_paths() -> set[str]:
    """Return the fields to decode for an alert's images."""
    return {field for survey in surveys() for field in survey.cutouts.values()}
