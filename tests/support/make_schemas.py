"""Make the folder ``schemas/`` from the official schemas in ``lsst-alert-packet``.

When a new version of the schemas is published::

    pip install --upgrade lsst-alert-packet
    python -m tests.support.make_schemas

Each version becomes one self-contained file: names, types, order, defaults and aliases are the
official ones; the documentation is not: ``DOC`` below holds ours, for the fields users ask for.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lsst.alert.packet import Schema, get_schema_root

FOLDER = Path(__file__).parents[2] / "schemas"

# By record, then by field. Where versions name the same thing differently, both names are here.
DOC: dict[str, dict[str, str]] = {
    "alert": {
        "alertId": "unique id of the alert",
        "diaSourceId": "id of the source that caused the alert; unique in the stream",
        "observation_reason": "why the scheduler took this image",
        "target_name": "what the scheduler pointed at",
        "diaSource": "the source that caused the alert",
        "prvDiaSources": "earlier sources of the same object, oldest first",
        "prvDiaForcedSources": "fluxes forced at the object's place on earlier visits",
        "prvDiaNondetectionLimits": "depth of earlier visits that did not see the object",
        "diaObject": "summary of all sources at this place; null for a moving object",
        "ssObject": "the moving object; null for anything that stays in place",
        "ssSource": "where the moving object was; null for anything that stays in place",
        "mpc_orbits": "orbit of the moving object from the Minor Planet Center",
        "MPCORB": "orbit of the moving object from the Minor Planet Center",
        "cutoutDifference": "FITS image: science minus template, nJy",
        "cutoutScience": "FITS image of the visit, nJy",
        "cutoutTemplate": "FITS image of the sky as it used to be, nJy",
    },
    "diaSource": {
        "diaSourceId": "unique id of the source; needs all 64 bits",
        "visit": "the visit, as YYYYMMDDnnnnn",
        "ccdVisitId": "the visit and detector in one number",
        "detector": "the detector, 0 to 188 for the science array",
        "diaObjectId": "the object it belongs to; null for a moving object",
        "ssObjectId": "the moving object it belongs to, if any",
        "midPointTai": "middle of the exposure, MJD, TAI",
        "midpointMjdTai": "middle of the exposure, MJD, TAI",
        "filterName": "band: u, g, r, i, z or y",
        "band": "u, g, r, i, z or y",
        "ra": "right ascension, ICRS, deg",
        "raErr": "one sigma of ra, deg",
        "dec": "declination, ICRS, deg",
        "decl": "declination, ICRS, deg",
        "decErr": "one sigma of dec, deg",
        "declErr": "one sigma of decl, deg",
        "x": "column on the detector, pixel",
        "y": "row on the detector, pixel",
        "apFlux": "flux change in a circular aperture, nJy",
        "apFluxErr": "one sigma of apFlux, nJy",
        "isNegative": "true where the source became fainter",
        "is_negative": "true where the source became fainter",
        "snr": "signal-to-noise ratio of the detection",
        "psFlux": "flux change of a point source, nJy; AB magnitude = 31.4 - 2.5 log10",
        "psFluxErr": "one sigma of psFlux, nJy",
        "psfFlux": "flux change of a point source, nJy; AB magnitude = 31.4 - 2.5 log10",
        "psfFluxErr": "one sigma of psfFlux, nJy",
        "trailLength": "length of the trail of a fast mover, arcsec",
        "dipoleLength": "distance from the negative to the positive lobe, arcsec",
        "totFlux": "flux in the visit's own image, nJy",
        "totFluxErr": "one sigma of totFlux, nJy",
        "scienceFlux": "flux in the visit's own image, nJy",
        "scienceFluxErr": "one sigma of scienceFlux, nJy",
        "templateFlux": "flux in the template, nJy",
        "templateFluxErr": "one sigma of templateFlux, nJy",
        "extendedness": "0 like a star, 1 like a galaxy",
        "reliability": "0 surely an artefact, 1 surely real",
        "reliabilityVersion": "which model gave the reliability",
        "isDipole": "a bad subtraction: positive and negative lobe side by side",
        "exposureTime": "exposure time, s",
        "timeProcessedMjdTai": "when the pipeline made this source, MJD, TAI",
        "timeWithdrawnMjdTai": "when it was withdrawn, MJD, TAI; null as long as it stands",
        "glint_trail": "one of a line of glints from tumbling debris",
    },
    "diaForcedSource": {
        "diaForcedSourceId": "unique id of the forced measurement",
        "diaObjectId": "the object it belongs to",
        "visit": "the visit, as YYYYMMDDnnnnn",
        "ccdVisitId": "the visit and detector in one number",
        "detector": "the detector, 0 to 188 for the science array",
        "midPointTai": "middle of the exposure, MJD, TAI",
        "midpointMjdTai": "middle of the exposure, MJD, TAI",
        "filterName": "band: u, g, r, i, z or y",
        "band": "u, g, r, i, z or y",
        "psFlux": "flux change at the object's place, nJy; may well be negative",
        "psFluxErr": "one sigma of psFlux, nJy",
        "psfFlux": "flux change at the object's place, nJy; may well be negative",
        "psfFluxErr": "one sigma of psfFlux, nJy",
        "scienceFlux": "flux in the visit's own image, nJy",
    },
    "diaObject": {
        "diaObjectId": "unique id of the object; needs all 64 bits",
        "ra": "right ascension, ICRS, deg",
        "dec": "declination, ICRS, deg",
        "decl": "declination, ICRS, deg",
        "validityStartMjdTai": "since when this summary stands, MJD, TAI",
        "firstDiaSourceMjdTai": "when the object was first seen, MJD, TAI",
        "lastDiaSourceMjdTai": "when the object was last seen, MJD, TAI",
        "nDiaSources": "how many sources it has, this one included",
    },
    "ssObject": {"ssObjectId": "unique id of the moving object"},
    "ssSource": {
        "ssObjectId": "unique id of the moving object",
        "diaSourceId": "the source that was matched with it",
        "designation": "its name, as in 2014 QX12",
        "mpcDesignation": "its name in packed form, as in K14Q12X",
        "elongation": "angle from the sun, deg",
        "phaseAngle": "angle between sun and observer as the object sees them, deg",
        "topoRange": "distance from the telescope, au",
        "helioRange": "distance from the sun, au",
        "topocentricDist": "distance from the telescope, au",
        "heliocentricDist": "distance from the sun, au",
        "ephVmag": "V magnitude that the orbit predicts",
        "ephOffset": "distance from the predicted place, arcsec",
        "residualRa": "distance from the predicted right ascension, arcsec",
        "residualDec": "distance from the predicted declination, arcsec",
    },
    "mpc_orbits": {
        "designation": "its name, as in 2014 QX12",
        "packed_primary_provisional_designation": "its name in packed form, as in K14Q12X",
        "a": "semi-major axis, au",
        "q": "perihelion distance, au",
        "e": "eccentricity; 0 is a circle",
        "i": "inclination, deg",
        "node": "longitude of the ascending node, deg",
        "argperi": "argument of perihelion, deg",
        "epoch_mjd": "epoch of the elements, MJD",
        "h": "absolute magnitude, as at 1 au from sun and observer",
    },
}

# What a decoder needs; everything else in the official files is dropped.
_KEPT = (
    "type",
    "name",
    "items",
    "logicalType",
    "aliases",
    "default",
    "fields",
)


def official() -> Iterator[dict[str, Any]]:
    """Yield the official alert schemas, oldest first, each with all named types inside."""
    paths = Path(str(get_schema_root())).glob("*/*/lsst.v*.alert.avsc")
    for path in sorted(paths, key=lambda path: [int(part) for part in path.parts[-3:-1]]):
        yield Schema.from_file(str(path)).definition


def with_own_words(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an official schema with our documentation in place of theirs."""
    namespace, _, name = schema["name"].rpartition(".")
    stripped = _stripped(schema, namespace)
    return {"type": "record", "name": name, "namespace": namespace, "fields": stripped["fields"]}


def _stripped(node: Any, namespace: str) -> Any:
    if isinstance(node, str):
        return node.removeprefix(f"{namespace}.")
    if isinstance(node, list):
        return [_stripped(branch, namespace) for branch in node]
    kept = {key: node[key] for key in _KEPT if key in node}
    for key in ("name", "type", "items"):
        if key in kept:
            kept[key] = _stripped(kept[key], namespace)
    if "fields" in kept:
        own = DOC.get(kept["name"], {})
        fields = [_stripped(field, namespace) for field in kept["fields"]]
        kept["fields"] = [_documented(field, own.get(field["name"])) for field in fields]
    return kept


def _documented(field: dict[str, Any], doc: str | None) -> dict[str, Any]:
    leading = {"name": field["name"], "type": field["type"]}
    return leading | field | ({"doc": doc} if doc else {})


def rendered(node: Any, depth: int = 1) -> str:
    """Return a schema as JSON with one field a line."""
    if isinstance(node, list):
        return "[" + ", ".join(rendered(item, depth) for item in node) + "]"
    if not isinstance(node, dict):
        return json.dumps(node)
    return "{" + ", ".join(_member(key, node[key], depth) for key in node) + "}"


def _member(key: str, value: Any, depth: int) -> str:
    if key != "fields":
        return f'"{key}": {rendered(value, depth)}'
    lines = (" " * depth + rendered(field, depth + 1) for field in value)
    return '"fields": [\n' + ",\n".join(lines) + "\n" + " " * (depth - 1) + "]"


def write(folder: Path) -> list[Path]:
    """Write every official version into ``folder``; return the files, oldest version first."""
    folder.mkdir(exist_ok=True)
    paths = []
    for schema in official():
        paths.append(folder / f"{schema['name']}.avsc")
        paths[-1].write_text(rendered(with_own_words(schema)) + "\n", encoding="utf-8")
    return paths


if __name__ == "__main__":
    sys.stdout.writelines(f"{path.name}\n" for path in write(FOLDER))
