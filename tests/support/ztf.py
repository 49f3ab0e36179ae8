"""Alerts as ZTF sends them: each is an Avro container file, with gzipped FITS stamps."""

from __future__ import annotations

import gzip
from io import BytesIO
from typing import Any

import fastavro
import numpy as np
from astropy.io import fits

from alertstream.sending.visits.encoders import container_encoder


def ztf_alert(**names: str) -> tuple[dict[str, Any], bytes]:
    """A ZTF alert whose three cutouts have these file names, and its message."""
    pixels = np.arange(9, dtype=">f4").reshape(3, 3)
    stream = BytesIO()
    fits.PrimaryHDU(pixels).writeto(stream)
    stamp = {
        "type": "record",
        "name": "ztf.cutout",
        "fields": [
            {"name": "fileName", "type": "string"},
            {"name": "stampData", "type": "bytes"},
        ],
    }
    fields: list[Any] = [{"name": "objectId", "type": "string"}]
    for number, name in enumerate(("Science", "Template", "Difference")):
        kind: list[Any] = [stamp if number == 0 else "ztf.cutout", "null"]
        # The default is not valid, but it is what ZTF has.
        fields.append({"name": f"cutout{name}", "type": kind, "default": "null"})
    candidate = {
        "type": "record",
        "name": "ztf.candidate",
        "fields": [
            {"name": name, "type": kind}
            for name, kind in {
                "candid": "long",
                "jd": "double",
                "fid": "int",
                "pid": "long",
                "ra": "double",
                "dec": "double",
                "magpsf": "float",
                "sigmapsf": "float",
            }.items()
        ],
    }
    fields.insert(1, {"name": "candidate", "type": candidate})
    schema = {"type": "record", "name": "ztf.alert", "fields": fields}
    alert = {
        "objectId": "ZTF19acihgng",
        "candidate": {
            "candid": 1060135832015015002,
            "jd": 2458814.6358333,
            "fid": 2,
            "pid": 1060135832015,
            "ra": 289.8937586,
            "dec": 61.8469285,
            "magpsf": 18.6323,
            "sigmapsf": 0.1349,
        },
    }
    for name in ("Science", "Template", "Difference"):
        data = {"fileName": names[name], "stampData": gzip.compress(stream.getvalue())}
        alert[f"cutout{name}"] = data
    body = BytesIO()
    fastavro.schemaless_writer(body, schema, alert)
    return alert, b"".join(container_encoder(schema)(body.getvalue()))
