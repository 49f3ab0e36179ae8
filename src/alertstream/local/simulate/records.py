"""Records of any version of LSST's alert schema, filled by today's field names."""

from __future__ import annotations

import math
from typing import Any

from alertstream.avro.schema_tree import Type, tree, walk
from alertstream.avro.schemas import Schema
from alertstream.errors import SchemaError

Values = dict[str, Any]

_TODAY = {
    "alertId": "diaSourceId",
    "psFlux": "psfFlux",
    "psFluxErr": "psfFluxErr",
    "totFlux": "scienceFlux",
    "totFluxErr": "scienceFluxErr",
    "midPointTai": "midpointMjdTai",
    "radecTai": "lastDiaSourceMjdTai",
    "radecMjdTai": "lastDiaSourceMjdTai",
    "filterName": "band",
    "decl": "dec",
    "declErr": "decErr",
    "is_negative": "isNegative",
    "topocentricDist": "topoRange",
    "heliocentricDist": "helioRange",
}
"""Names of versions before 8, and the name that means the same today."""
_ZEROS: dict[str, Any] = {
    "null": None,
    "boolean": False,
    "string": "",
    "bytes": b"",
    "array": [],
    "map": {},
}


class Records:
    """The record types of one schema version.

    :raises SchemaError: it is not a schema of LSST alerts.
    """

    def __init__(self, schema: Schema) -> None:
        types = {each.short_name: each for each in walk(tree(schema)) if each.fields}
        if not types.keys() >= {"alert", "diaSource"}:
            raise SchemaError("not a schema of LSST alerts")
        self._fields = {
            name: [(f.name, _TODAY.get(f.name, f.name), _blank(f.type)) for f in record.fields]
            for name, record in types.items()
        }
        nullable = {today for _, today, blank in self._fields["diaSource"] if blank is None}
        self.unmeasured = None if "snr" in nullable else math.nan
        """What stands for a value that could not be measured: null, before 6.0 NaN."""

    def filled(self, record: str, values: Values) -> Values | None:
        """Return ``values`` as this version's ``record``; None where it has no such record.

        What is not among them is null, or zero, empty or false where it cannot be null.
        """
        if record not in self._fields:
            return None
        return {name: values.get(today, blank) for name, today, blank in self._fields[record]}


def _blank(node: Type) -> Any:
    """Return the least that a type can hold."""
    if node.kind == "union":
        kinds = [each.kind for each in node.inside]
        return False if "boolean" in kinds else None if "null" in kinds else _blank(node.inside[0])
    if node.kind == "record":
        return {field.name: _blank(field.type) for field in node.fields}
    if node.kind == "enum":
        return node.schema["symbols"][0]
    if node.kind == "fixed":
        return bytes(node.schema["size"])
    return _ZEROS.get(node.kind, 0)
