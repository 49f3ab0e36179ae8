"""The cost of decoding: whole alerts, and the fields that the template filter needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro

from alertstream.alert.surveys import field_paths
from alertstream.avro.decoder import Decoder
from alertstream.avro.schemas import Schemas
from alertstream.local.simulate.files import SimulateOptions, visit_alerts

HISTORIES = (0, 12, 100, 345)
ALERTS = 40


def measure() -> dict[str, Any]:
    """Print and return microseconds per alert, by the number of earlier sources."""
    schema = Schemas().by_id(1000)
    whole = Decoder(schema)
    part = Decoder(schema, field_paths(["visit", "snr", "flux"]))
    found: dict[str, Any] = {}
    print(
        f"\ndecode: microseconds per alert\n{'history':>8} {'whole':>9} {'in part':>9} {'bytes':>9}"
    )
    for history in HISTORIES:
        options = SimulateOptions(Path(), 1, ALERTS, history=(history, history), cutout_size=103)
        bodies = [_encoded(schema, alert) for alert in visit_alerts(options, schema, 0)]
        figures = {
            "whole": _microseconds(whole.decode, bodies, 3),
            "part": _microseconds(part.decode, bodies, 50),
            "bytes": sum(map(len, bodies)) / len(bodies),
        }
        print(f"{history:8} {figures['whole']:9.0f} {figures['part']:9.1f} {figures['bytes']:9.0f}")
        found[str(history)] = figures
    return found


def _encoded(schema: dict[str, Any], alert: dict[str, Any]) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, schema, alert)
    return stream.getvalue()


def _microseconds(decode: Callable[[bytes], Any], bodies: list[bytes], times: int) -> float:
    best = float("inf")
    for _ in range(times):
        begin = time.perf_counter()
        for body in bodies:
            decode(body)
        best = min(best, time.perf_counter() - begin)
    return best / len(bodies) * 1e6
