"""Moves the times of an alert's detection, in the alert's bytes.

Earlier detections, and everything else, stay unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from alertstream.alert.alert import Alert
from alertstream.alert.surveys import field_paths, survey_of
from alertstream.alert.surveys.survey import DAY
from alertstream.avro.container.file import ContainerFile
from alertstream.avro.decoder import Decoder
from alertstream.avro.places import DoubleField
from alertstream.avro.schema_tree import Schema
from alertstream.errors import SchemaError, UndecodableError, UsageError

PROCESSED = ("diaSource", "timeProcessedMjdTai")
"""When LSST made the detection: it moves along."""


class Mover:
    """Moves the times of the alerts that are written with one schema.

    :raises SchemaError: they have none.
    """

    def __init__(self, schema: Schema) -> None:
        self._fields: list[DoubleField] = []
        self._survey = survey_of(schema)
        for path in (*self._survey.paths.get("mjd", ()), PROCESSED):
            with suppress(SchemaError):
                self._fields.append(DoubleField(schema, path))
        if not self._fields:
            raise SchemaError("its alerts do not say when they were observed")
        self._decoder = Decoder(schema, field_paths(["mjd", "exposure_time"]))

    def to(self, body: bytes, shutter: float) -> bytes:
        """Return an alert's body, with the end of its exposure at ``shutter``, s since 1970."""
        try:
            was = Alert(self._decoder.decode(body), self._survey).shutter
        except UndecodableError:
            return body
        return self.by(body, shutter - was) if math.isfinite(was) else body

    def by(self, body: bytes, seconds: float) -> bytes:
        """Return an alert's body with its times moved; unchanged, if it cannot be decoded."""
        try:
            for each in self._fields:
                body = each.add(body, seconds / DAY)
        except UndecodableError:
            pass
        return body


def movers(files: Iterable[Path]) -> dict[Path, Mover]:
    """Return each file's :class:`Mover`.

    :raises UsageError: a file's alerts have no times that can be moved.
    :raises DataError: a file is not a container file.
    """
    found = {}
    for path in files:
        with ContainerFile(path) as container:
            try:
                if container.holds_messages:
                    raise SchemaError("it holds whole messages")
                found[path] = Mover(container.schema)
            except SchemaError as error:
                what = f"the times of the file cannot be moved: {error.what}"
                raise UsageError(what, where=str(path), todo="leave out --now") from error
    return found
