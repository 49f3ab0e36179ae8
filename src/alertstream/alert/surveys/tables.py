"""Reads a survey's table from a TOML file; each mistake in it is one clear error."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from alertstream.alert.surveys.survey import AB_ZERO, STATED, Survey
from alertstream.errors import UsageError

_DOCUMENTED = "see Surveys in the documentation"
_KEYS: dict[str, tuple[str, ...]] = {
    "": ("name", "schemas", "fields", "other_fields", "no_id", "containers"),
    "quantities": tuple(sorted(STATED)),
    "time": ("field", "scale", "at", "zero", "seconds"),
    "flux": ("zero_point", "magnitude_system", "positive", "negative"),
    "history": ("detections", "forced", "limit"),
    "bands": (),
    "cutouts": ("Science", "Template", "Difference", "flipped"),
}
"""The tables of the file and their keys; bands have their numbers for keys."""


class _Table:
    """One table of a file: takes its values by their keys, and checks their types."""

    def __init__(self, name: str, content: Any, where: str) -> None:
        self.name, self.where = name, where
        self.content: dict[str, Any] = content
        if not isinstance(content, dict):
            raise self.error(f"{name} is not a table", f"write [{name}], and its keys below")
        keys = _KEYS[name]
        for key in content if keys else ():
            if key not in keys and not (name == "" and key in _KEYS):
                what = f"there is no key {key}" + (f" in [{name}]" if name else "")
                raise self.error(what, f"keys there: {', '.join(keys)}")

    def error(self, what: str, todo: str = _DOCUMENTED) -> UsageError:
        return UsageError(what, where=self.where, todo=todo)

    def _is(self, key: str, kind: type | tuple[type, ...], what: str) -> Any:
        value = self.content[key]
        if not isinstance(value, kind) or isinstance(value, bool) > (kind is bool):
            raise self.error(f"{key} is not {what}")
        return value

    def text(self, key: str, default: str = "", choices: tuple[str, ...] = ()) -> str:
        text: str = self._is(key, str, "a text") if key in self.content else default
        if choices and text not in choices:
            raise self.error(f"{key} is neither {' nor '.join(choices)}")
        return text

    def number(self, key: str, default: float) -> float:
        return float(self._is(key, (int, float), "a number")) if key in self.content else default

    def flag(self, key: str) -> bool:
        return bool(self._is(key, bool, "true or false")) if key in self.content else False

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a text, or a list of them."""
        value = self.content.get(key, [])
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(each, str) and each for each in texts):
            raise self.error(f"{key} is not a text or a list of texts")
        return tuple(texts)

    def paths(self, key: str) -> tuple[tuple[str, ...], ...]:
        paths = tuple(tuple(path.split(".")) for path in self.texts(key))
        if not all(name for path in paths for name in path):
            raise self.error(f"{key} is not a dotted path of fields")
        return paths


def read_table(file: Path | Traversable) -> Survey:
    """Read a survey's table.

    :raises UsageError: it cannot be read, or is not valid.
    """
    where = str(file)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror})", where=where) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"not valid TOML: {error}", where=where, todo=_DOCUMENTED) from error
    top = _Table("", content, where)
    parts = {name: _Table(name, content.get(name, {}), where) for name in _KEYS if name}
    if not (name := top.text("name")).isprintable() or not name:
        raise top.error("the survey has no name", 'write name = "…" first')
    if not top.texts("schemas") and not top.texts("fields"):
        what = "nothing says which schemas are this survey's"
        raise top.error(what, "write schemas, patterns of their names, or fields that they have")
    return _survey(name, top, parts)


def _survey(name: str, top: _Table, parts: Mapping[str, _Table]) -> Survey:
    quantities, time, flux = parts["quantities"], parts["time"], parts["flux"]
    stated = {each: quantities.paths(each) for each in quantities.content}
    stated |= {each: flux.paths(each) for each in ("positive", "negative")}
    stated["mjd"] = time.paths("field")
    paths = {each: found for each, found in stated.items() if found}
    if paths and "mjd" not in paths:
        raise time.error("the survey has no time", "write [time] with field = …")
    history, bands, cutouts = parts["history"], parts["bands"], parts["cutouts"]
    no_id = top.content.get("no_id", [])
    return Survey(
        name=name,
        schemas=top.texts("schemas"),
        fields=top.texts("fields"),
        paths=paths,
        zero_point=flux.number("zero_point", AB_ZERO),
        magnitude_system=flux.text("magnitude_system", "AB"),
        time_scale=time.text("scale", "UTC", ("TAI", "UTC")),
        at=time.text("at", "middle", ("start", "middle")),
        exposure=time.number("seconds", 0.0),
        mjd_zero=time.number("zero", 0.0),
        no_id=tuple(no_id) if isinstance(no_id, list) else (no_id,),
        bands={each: bands.text(each) for each in bands.content},
        detections=history.text("detections"),
        forced=history.text("forced"),
        limit=history.text("limit"),
        cutouts={each: cutouts.text(each) for each in cutouts.content if each != "flipped"},
        flipped=cutouts.flag("flipped"),
        containers=top.flag("containers"),
        other_fields=top.texts("other_fields"),
    )
