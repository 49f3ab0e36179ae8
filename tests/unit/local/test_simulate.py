"""Simulated alerts hang together as real ones do."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from lsst.alert.packet import Schema, get_schema_path

from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import pack, schema_id_of
from alertstream.errors import DataError, SchemaError, UndecodableError, UsageError
from alertstream.local.simulate.files import (
    FAULTS,
    MANIFEST,
    UNDECODABLE,
    Faults,
    SimulateOptions,
    simulate,
    visit_alerts,
)
from alertstream.reading.decoder import AlertDecoder

ROOT = Path(__file__).parents[3]
SMALL = SimulateOptions(Path(), visits=2, alerts=60, history=(0, 20), cutout_size=41)


def schema(version: str = "10.0") -> dict[str, Any]:
    path = ROOT / "schemas" / f"lsst.v{version.replace('.', '_')}.alert.avsc"
    return json.loads(path.read_text(encoding="utf-8"))


def official(version: str) -> dict[str, Any]:
    major, minor = version.split(".")
    return Schema.from_file(
        f"{get_schema_path(major, minor)}/lsst.v{major}_{minor}.alert.avsc"
    ).definition


@pytest.fixture(scope="module")
def alerts() -> list[dict[str, Any]]:
    return [alert for index in range(4) for alert in visit_alerts(SMALL, schema(), index)]


def bright(source: dict[str, Any]) -> bool:
    snr, flux = source["snr"], source["psfFlux"]
    return snr is not None and flux is not None and snr > 5 and flux > 36_307.8


def clean(alert: dict[str, Any]) -> bool:
    source = alert["diaSource"]
    return source["snr"] is not None and not math.isnan(source["psfFlux"] or math.nan)


def image(alert: dict[str, Any], name: str) -> Any:
    with fits.open(io.BytesIO(alert[f"cutout{name}"])) as file:
        file.verify("exception")
        header = file[0].header
        # As in LSST's own, the axes are not named.
        assert not [key for key in header if key.startswith(("CTYPE", "CUNIT", "RADESYS"))]
        header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN")
        return file[0].data.astype(float), header


def seeing(alert: dict[str, Any]) -> float:
    """Return the PSF's sigma in pixels."""
    return math.sqrt(alert["diaSource"]["ixxPSF"]) / 0.2


def point(alert: dict[str, Any], header: Any) -> Any:
    """Return the PSF where the header says that the source is."""
    source = alert["diaSource"]
    x, y = WCS(header).all_world2pix(source["ra"], source["dec"], 0)
    rows, columns = np.indices((header["NAXIS2"], header["NAXIS1"]))
    blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2 / seeing(alert) ** 2)
    return blob / blob.sum()


def test_cutouts_have_a_valid_world_coordinate_system(alerts) -> None:
    angles = set()
    for alert in alerts[::10]:
        pixels, header = image(alert, "Science")
        assert pixels.shape == (41, 41)
        assert header["BUNIT"] == "nJy"
        wcs = WCS(header)
        assert proj_plane_pixel_scales(wcs) * 3600 == pytest.approx([0.2, 0.2])
        source = alert["diaSource"]
        assert list(wcs.wcs.crval) == pytest.approx([source["ra"], source["dec"]], abs=1e-8)
        assert np.abs(wcs.wcs.crpix - 21).max() <= 0.5
        assert np.linalg.det(wcs.pixel_scale_matrix) < 0
        angles.add(round(math.degrees(math.atan2(*wcs.pixel_scale_matrix[:, 1])), 4))
    assert len(angles) > 10


def test_source_is_in_the_difference_as_bright_as_it_says(alerts) -> None:
    for alert in filter(clean, alerts):
        pixels, header = image(alert, "Difference")
        psf = point(alert, header)
        flux = (pixels * psf).sum() / (psf**2).sum()
        source = alert["diaSource"]
        assert flux == pytest.approx(source["psfFlux"], abs=0.1 * source["psfFluxErr"], rel=1e-3)


def test_aperture_has_the_flux_of_a_point_source(alerts) -> None:
    stars = [a for a in alerts if clean(a) and not a["diaSource"]["isDipole"]]
    strong = [alert for alert in stars if alert["diaSource"]["snr"] > 100]
    assert len(strong) > 5
    for alert in strong:
        pixels, header = image(alert, "Difference")
        near = point(alert, header) > 0
        radius = np.hypot(*(np.indices(pixels.shape) - 20))
        total = pixels[near & (radius < 5 * seeing(alert))].sum()
        assert total == pytest.approx(alert["diaSource"]["psfFlux"], rel=0.1)


def test_noise_of_the_difference_agrees_with_the_error(alerts) -> None:
    ratios = []
    for alert in filter(clean, alerts):
        source = alert["diaSource"]
        if 4 < source["snr"] < 8 and not source["isDipole"]:
            pixels, _ = image(alert, "Difference")
            noise = pixels[:8].std() * math.sqrt(4 * math.pi) * seeing(alert)
            ratios.append(noise / source["psfFluxErr"])
    assert np.median(ratios) == pytest.approx(1, abs=0.1)


def test_difference_is_science_minus_template(alerts) -> None:
    for alert in alerts:
        science, template = image(alert, "Science")[0], image(alert, "Template")[0]
        tolerance = 1e-5 * max(np.abs(science).max(), np.abs(template).max())
        assert np.abs(image(alert, "Difference")[0] - (science - template)).max() < tolerance


def test_fluxes_snr_and_sign_agree(alerts) -> None:
    for source in (alert["diaSource"] for alert in filter(clean, alerts)):
        assert source["snr"] == pytest.approx(abs(source["psfFlux"]) / source["psfFluxErr"])
        assert source["isNegative"] == (source["psfFlux"] < 0)
        change = source["scienceFlux"] - source["templateFlux"]
        assert change == pytest.approx(source["psfFlux"], abs=1e-4 * source["psfFluxErr"])


def test_brightness_spreads_around_what_filters_cut(alerts) -> None:
    sources = [alert["diaSource"] for alert in alerts if clean(alert)]
    share = Counter("<5" if s["snr"] < 5 else "<10" if s["snr"] < 10 else "more" for s in sources)
    assert min(share["<5"], share["<10"], share["more"]) > 0.1 * len(sources)
    assert 0.05 < sum(map(bright, sources)) / len(sources) < 0.25
    assert 0.05 < sum(source["isNegative"] for source in sources) / len(sources) < 0.5
    assert 0 < sum(not clean(alert) for alert in alerts) < 0.08 * len(alerts)


def test_histories_are_within_bounds_and_in_time_order(alerts) -> None:
    lengths = Counter()
    for alert in alerts:
        earlier = alert["prvDiaSources"] or []
        lengths[len(earlier)] += 1
        forced = alert["prvDiaForcedSources"] or []
        for history in ([*earlier, alert["diaSource"]], [*forced, alert["diaSource"]]):
            times = [source["midpointMjdTai"] for source in history]
            assert times == sorted(set(times))
    assert set(lengths) <= set(range(21))
    assert lengths[0] > lengths[10]
    fixed = replace(SMALL, history=(7, 7), alerts=20)
    assert all(len(a["prvDiaSources"]) == 7 for a in visit_alerts(fixed, schema(), 0))


def test_sources_belong_to_their_object(alerts) -> None:
    for alert in alerts:
        source, summary = alert["diaSource"], alert["diaObject"]
        earlier = alert["prvDiaSources"] or []
        assert (summary is None) == (alert["ssSource"] is not None)
        for key in ("diaObjectId", "ssObjectId"):
            assert {past[key] for past in earlier} <= {source[key]}
        if summary is None:
            assert source["diaObjectId"] is None
            assert alert["ssSource"]["ssObjectId"] == source["ssObjectId"]
            assert not alert["prvDiaForcedSources"]
        else:
            assert summary["diaObjectId"] == source["diaObjectId"]
            assert summary["nDiaSources"] == len(earlier) + 1
            assert summary["lastDiaSourceMjdTai"] == source["midpointMjdTai"]
            assert all(math.dist((p["ra"], p["dec"]), (source["ra"], source["dec"])) < 0.01
                       for p in earlier)  # fmt: skip


def test_ids_are_unique_and_need_64_bits(alerts) -> None:
    every = [a["diaSource"] for a in alerts] + [s for a in alerts for s in a["prvDiaSources"] or []]
    ids = [source["diaSourceId"] for source in every]
    assert len(set(ids)) == len(ids)
    assert all(2**53 < number < 2**63 for number in ids)
    assert any(int(float(number)) != number for number in ids)
    objects = [alert["diaSource"]["diaObjectId"] for alert in alerts if alert["diaObject"]]
    assert len(set(objects)) == len(objects)
    assert all(alert["diaSourceId"] == alert["diaSource"]["diaSourceId"] for alert in alerts)


def test_a_visit_is_one_exposure_of_189_detectors(alerts) -> None:
    for first in range(0, 240, 60):
        sources = [alert["diaSource"] for alert in alerts[first : first + 60]]
        for key in ("visit", "band", "midpointMjdTai"):
            assert len({source[key] for source in sources}) == 1
        assert all(0 <= source["detector"] < 189 for source in sources)
        assert len({source["detector"] for source in sources}) > 30
        decs = [source["dec"] for source in sources]
        assert 1.5 < max(decs) - min(decs) < 3.6
    times = [alerts[first]["diaSource"]["midpointMjdTai"] * 86400 for first in range(0, 240, 60)]
    assert np.diff(times) == pytest.approx(39, abs=1e-3)
    assert str(alerts[0]["diaSource"]["visit"]).startswith("20261124")


@pytest.mark.parametrize(
    "version", ["3.0", "4.0", "5.0", "6.1", "7.1", "7.4", "8.0", "9.0", "10.0", "11.0", "11.1"]
)
def test_every_version_can_be_filled(version: str, tmp_path) -> None:
    size = {"visits": 1, "alerts": 8, "history": (0, 6), "cutout_size": 15}
    options = replace(SMALL, folder=tmp_path, **size)
    (path,) = simulate(options, schema(version))
    with path.open("rb") as file:
        reader = fastavro.reader(file, reader_schema=official(version))
        alerts = list(reader)
    assert len(alerts) == 8
    assert all(fastavro.validate(alert, official(version)) for alert in alerts)
    assert any(alert["prvDiaSources"] for alert in alerts)


def test_most_fields_of_a_source_are_filled(alerts) -> None:
    filled = [value for alert in alerts for value in alert["diaSource"].values()]
    assert sum(value is not None for value in filled) > 0.9 * len(filled)


def test_real_size_of_an_alert(tmp_path) -> None:
    options = replace(SMALL, folder=tmp_path, visits=1, alerts=20, cutout_size=91, history=(0, 100))
    (path,) = simulate(options, schema())
    assert 100_000 < path.stat().st_size / 20 < 280_000


def test_one_record_a_block_and_no_codec(tmp_path) -> None:
    paths = simulate(replace(SMALL, folder=tmp_path / "new" / "folder"), schema())
    assert paths == sorted((tmp_path / "new" / "folder").iterdir())
    for path in paths:
        with path.open("rb") as file:
            reader = fastavro.block_reader(file)
            assert reader.metadata["avro.codec"] == "null"
            assert [block.num_records for block in reader] == [1] * 60


def test_same_seed_same_bytes(tmp_path) -> None:
    def made(name: str, **changes: Any) -> list[bytes]:
        options = replace(SMALL, folder=tmp_path / name, alerts=10, **changes)
        return [path.read_bytes() for path in simulate(options, schema())]

    two = made("a")
    assert made("b") == two
    assert made("c", visits=3)[:2] == two
    assert not set(made("d", seed=2)) & set(two)


def test_reports_progress(tmp_path) -> None:
    reports: list[tuple[int, int]] = []
    options = replace(SMALL, folder=tmp_path, alerts=3)
    simulate(options, schema(), lambda visit, done: reports.append((visit, done)))
    assert reports == [(visit, done) for visit in (0, 1) for done in (1, 2, 3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"visits": 0}, "--visits must be 1 to 4096, not 0"),
        ({"alerts": -1}, "--alerts must be 1 to 131072, not -1"),
        ({"cutout_size": 3}, "--cutout-size must be 15 to 999, not 3"),
        ({"history": (5, 2)}, "the shortest --history must be 0 to 2, not 5"),
    ],
)
def test_options_out_of_bounds(changes, message, tmp_path) -> None:
    with pytest.raises(UsageError, match=message):
        simulate(replace(SMALL, folder=tmp_path / "none", **changes), schema())
    assert not (tmp_path / "none").exists()


def test_fields_that_lsst_does_not_have_are_empty(tmp_path) -> None:
    strange = schema()
    phase = {"type": "enum", "name": "phase", "symbols": ["new", "full"]}
    for name, kind in (("colour", "float"), ("notes", {"type": "array", "items": "string"})):
        strange["fields"].append({"name": name, "type": kind})
    strange["fields"].append({"name": "moon", "type": phase})
    (path,) = simulate(replace(SMALL, folder=tmp_path, visits=1, alerts=2), strange)
    with path.open("rb") as file:
        for alert in fastavro.reader(file):
            assert (alert["colour"], alert["notes"], alert["moon"]) == (0.0, [], "new")


def test_schema_of_something_else(tmp_path) -> None:
    other = {"type": "record", "name": "ztf.alert", "fields": [{"name": "jd", "type": "double"}]}
    with pytest.raises(SchemaError, match="not a schema of LSST alerts"):
        simulate(replace(SMALL, folder=tmp_path), other)


def test_failure_half_way_keeps_the_older_file(tmp_path) -> None:
    options = replace(SMALL, folder=tmp_path, visits=1, alerts=3)
    (path,) = simulate(options, schema())
    before = path.read_bytes()

    def stop(visit: int, done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(replace(options, seed=2), schema(), stop)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [before]


def test_folder_that_cannot_be(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        simulate(replace(SMALL, folder=tmp_path / "file"), schema())


def faulty(folder: Path, *kinds: str, alerts: int = 20) -> tuple[list[bytes], list[dict[str, Any]]]:
    """The messages of a visit with faults, and the manifest."""
    options = replace(SMALL, folder=folder, visits=1, alerts=alerts, cutout_size=15)
    faults = Faults(kinds or FAULTS, 1000, (schema("11.0"), 1100))
    (path,) = simulate(options, schema(), faults=faults)
    with path.open("rb") as file:
        messages = list(fastavro.reader(file))
    lines = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()
    return messages, [json.loads(line) for line in lines]


def test_faults_are_where_the_manifest_says(tmp_path: Path) -> None:
    messages, manifest = faulty(tmp_path)
    assert len(messages) == 21
    assert sorted(each["kind"] for each in manifest) == sorted(FAULTS)
    (path,) = tmp_path.glob("*.avro")
    assert {(each["file"], f"visit-{each['visit']}") for each in manifest} == {
        (path.name, path.stem)
    }
    decoder = AlertDecoder(Schemas())
    kinds = {each["index"]: each["kind"] for each in manifest}
    sources = []
    for index, message in enumerate(messages):
        kind = kinds.get(index)
        if kind in UNDECODABLE:
            with pytest.raises(UndecodableError):
                decoder.fields_of(message)
            continue
        alert = decoder.fields_of(message)
        sources.append(alert["diaSource"]["diaSourceId"])
        assert (kind == "oversize") == (len(message) > 1024 * 1024)
        assert schema_id_of(message) == (1100 if kind == "schema-change" else 1000)
        assert (kind == "duplicate") == (index > 0 and message == messages[index - 1])
    assert len(sources) == 21 - len(UNDECODABLE)
    assert len(set(sources)) == len(sources) - 1
    assert all(each["decodable"] == (each["kind"] not in UNDECODABLE) for each in manifest)


def test_faults_change_nothing_else(tmp_path: Path) -> None:
    plain = simulate(
        replace(SMALL, folder=tmp_path / "plain", visits=1, alerts=20, cutout_size=15), schema()
    )
    with plain[0].open("rb") as file:
        bodies = [block.bytes_.getvalue() for block in fastavro.block_reader(file)]
    messages, manifest = faulty(tmp_path / "faulty", "truncated", "empty")
    assert faulty(tmp_path / "again", "truncated", "empty") == (messages, manifest)
    wrong = {each["index"] for each in manifest}
    assert len(wrong) == 2
    for index, body in enumerate(bodies):
        assert (messages[index] == pack(1000, body)) == (index not in wrong)


def test_manifest_goes_with_the_faults(tmp_path: Path) -> None:
    faulty(tmp_path, "empty")
    simulate(replace(SMALL, folder=tmp_path, visits=1, alerts=2, cutout_size=15), schema())
    assert not (tmp_path / MANIFEST).exists()


def test_more_faults_than_alerts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a visit of 8 alerts cannot have 9 faults"):
        faulty(tmp_path, alerts=8)
    assert len(faulty(tmp_path, alerts=9)[1]) == 9
