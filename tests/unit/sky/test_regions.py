"""Regions against independent computations, and every way in which they can be wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cdshealpix
import mocpy
import numpy as np
import pytest
from astropy import units
from astropy.coordinates import Angle, Latitude, Longitude, SkyCoord, angular_separation
from astropy.io import fits
from tests.support.sky import Numbers, alert_at, positions

from alertstream.alert.directions import angle, unit_vector
from alertstream.alert.surveys import field_paths
from alertstream.errors import UsageError
from alertstream.sky import Cone, Moc, SkyMap


def skycoord(ra: Numbers | float, dec: Numbers | float) -> SkyCoord:
    return SkyCoord(ra * units.deg, dec * units.deg)


def in_degrees(ra: Numbers, dec: Numbers) -> tuple[Longitude, Latitude]:
    return Longitude(ra * units.deg), Latitude(dec * units.deg)


def differences_from_astropy(count: int) -> Numbers:
    """How far separations are from astropy's, deg: of any pairs, of close and of opposite ones."""
    ra, dec = positions(count, seed=2)
    other_ra, other_dec = positions(count, seed=3)
    random = np.random.default_rng(4)
    half = count // 2
    step = 10 ** random.uniform(-9, 1, half)
    other_ra[:half] = ra[:half] + step
    other_dec[:half] = np.clip(dec[:half] - step, -90, 90)
    quarter = count // 4
    other_ra[:quarter], other_dec[:quarter] = other_ra[:quarter] + 180, -other_dec[:quarter]
    ours = [
        angle(unit_vector(a, b), unit_vector(c, d))
        for a, b, c, d in zip(ra, dec, other_ra, other_dec, strict=True)
    ]
    rad = map(np.radians, (ra, dec, other_ra, other_dec))
    return np.abs(np.degrees(angular_separation(*rad)) - ours)


def test_separations_are_astropys() -> None:
    # A hundred-thousandth of a milliarcsecond.
    assert differences_from_astropy(10_000).max() < 3e-12


@pytest.mark.slow
def test_a_million_separations_are_astropys() -> None:
    assert differences_from_astropy(1_000_000).max() < 3e-12


@pytest.mark.parametrize("radius", ["2 arcsec", "30 arcmin", "45 deg", "100 deg", "180 deg"])
@pytest.mark.parametrize("center", [(0, 90), (359.999, 0.001), (10, -89.9), (266.4, -28.9)])
def test_cone(center: tuple[float, float], radius: str) -> None:
    ra, dec = positions(500)
    # Many of them near its edge.
    random, wide = np.random.default_rng(5), Angle(radius).deg
    near = skycoord(*center).directional_offset_by(
        random.uniform(0, 360, 500) * units.deg, wide * random.uniform(0.9, 1.1, 500) * units.deg
    )
    ra, dec = np.concatenate((ra, near.ra.deg)), np.concatenate((dec, near.dec.deg))
    apart = skycoord(ra, dec).separation(skycoord(*center))
    cone = Cone(*center, radius)
    for each, separation in zip(zip(ra, dec, strict=True), apart, strict=True):
        found = cone.match(alert_at(*each))
        assert (found is not None) == (separation.deg <= wide), each
        if found:
            assert found["separation"] == pytest.approx(separation.arcsec, abs=1e-4)


def test_alerts_tell_what_matched() -> None:
    cone = Cone(150.1, 2.2, "30 arcsec")
    near, far, nowhere = alert_at(510.1, 2.205), alert_at(150, 2.2), alert_at(None, 2.2)
    assert near in cone
    assert near.matches == [{"in": "cone(150.1, 2.2, 30 arcsec)", "separation": 18.0}]
    for other in (far, nowhere, alert_at(math.nan, 0), alert_at(0, math.inf), alert_at(0, 91)):
        assert other not in cone
        assert other.matches == []
    assert alert_at(math.inf, 2.2) not in Cone(150, 2, "180 deg")


@pytest.mark.parametrize(
    ("ra", "dec", "radius", "what"),
    [
        (150, 91, "1 deg", "not a position"),
        (math.nan, 0, "1 deg", "not a position"),
        ("150", 0, "1 deg", "not a position"),
        (True, 0, "1 deg", "not a position"),
        (0, None, "1 deg", "not a position"),
        (1, 2, 30, "30 is not a valid radius"),
        (1, 2, "30", "'30' is not a valid radius"),
        (1, 2, "30 parsec", "'30 parsec' is not a valid radius"),
        (1, 2, "0 deg", "'0 deg' is not a valid radius"),
        (1, 2, "-1 deg", "'-1 deg' is not a valid radius"),
        (1, 2, "181 deg", "'181 deg' is not a valid radius"),
        (1, 2, "1.2.3 deg", "'1.2.3 deg' is not a valid radius"),
    ],
)
def test_a_cone_that_is_none(ra: Any, dec: Any, radius: Any, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        Cone(ra, dec, radius)


def region_of(kind: str) -> mocpy.MOC:
    ring = mocpy.MOC.from_cone(
        lon=Longitude("0d"), lat=Latitude("-89d"), radius=Angle("3 deg"), max_depth=10
    )
    plane = mocpy.MOC.from_zone(
        skycoord(np.array([350.0, 10.0]), np.array([-5.0, 5.0])), max_depth=8
    )
    return {"pole": ring, "zero": plane, "both": ring.union(plane), "none": mocpy.MOC.new_empty(9)}[
        kind
    ]


@pytest.mark.parametrize("kind", ["pole", "zero", "both", "none"])
@pytest.mark.parametrize("form", ["fits", "json", "ascii"])
def test_moc(tmp_path: Path, form: str, kind: str) -> None:
    moc, file = region_of(kind), tmp_path / f"region.{form}"
    moc.save(file, form)
    ra, dec = positions(2_000)
    ours = Moc(file)
    found = [ours.at(*each) for each in zip(ra, dec, strict=True)]
    assert [each is not None for each in found] == moc.contains_lonlat(
        *in_degrees(ra, dec)
    ).tolist()
    assert {each["in"] for each in found if each} <= {f"region.{form}"}


def test_a_moc_that_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "region.fits"
    region_of("both").save(path, "fits")
    path.write_bytes(path.read_bytes()[:-2880])
    with pytest.raises(UsageError, match="cannot be read"):
        Moc(path)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ('{"30": [1]}', "30/1"),
        ('{"29": [], "2": [0, 191, 192]}', "2/192"),
        ('{"29": [3458764513820540928]}', "29/3458764513820540928"),
        ('{"2": [-1]}', "2/-1"),
        ('{"2": [1.5]}', "2/1.5"),
        ('{"2": [true]}', "2/True"),
        ('{"2": 3}', "2/3"),
        ('{"two": ["a"]}', "two/a"),
        ("30/1", "29/4611686018427387904"),
        ("3/5-2", "29/22517998136852480"),
    ],
)
def test_a_moc_of_cells_that_are_none(tmp_path: Path, text: str, cell: str) -> None:
    path = tmp_path / "region.json"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        Moc(path)
    assert str(caught.value).startswith(f"{cell} is not a HEALPix cell · {path} · give orders 0 to")


ORDER = 5
CELLS = 12 * 4**ORDER


def probabilities() -> Numbers:
    """A map in nested order: two blobs on a pole and at 0 h, no two cells the same."""
    lon, lat = cdshealpix.healpix_to_lonlat(np.arange(CELLS), ORDER)
    centers = skycoord(np.array([0.0, 40.0]), np.array([0.5, 89.0]))
    apart = skycoord(lon.deg, lat.deg)[:, None].separation(centers[None, :]).deg
    found = np.exp(-((apart / [8, 15]) ** 2)).sum(axis=1) + np.linspace(1e-9, 2e-9, CELLS)
    return found / found.sum()


def save(path: Path, header: dict[str, Any], **columns: Any) -> Path:
    made = [fits.Column(name, {"i": "K", "f": "D"}[each.dtype.kind], array=each)
            for name, each in columns.items()]  # fmt: skip
    hdu = fits.BinTableHDU.from_columns(made)
    hdu.header.update(header)
    hdu.writeto(path)
    return path


def nested(path: Path) -> Path:
    return save(path, {"ORDERING": "NESTED", "NSIDE": 2**ORDER}, PROB=probabilities())


def ring(path: Path) -> Path:
    in_ring = np.empty(CELLS)
    in_ring[cdshealpix.to_ring(np.arange(CELLS), ORDER).astype(int)] = probabilities()
    return save(path, {"ORDERING": "RING", "COORDSYS": "C"}, PROB=in_ring)


def multi_order(path: Path) -> Path:
    """The same map with some cells in four parts, in any order."""
    cells, found = np.arange(CELLS), probabilities()
    split = cells % 3 == 0
    parts = (cells[split][:, None] * 4 + np.arange(4)).ravel()
    uniq = np.concatenate((cells[~split] + 4 ** (ORDER + 1), parts + 4 ** (ORDER + 2)))
    density = np.concatenate((found[~split], found[split].repeat(4))) * CELLS / (4 * np.pi)
    mixed = np.random.default_rng(6).permutation(len(uniq))
    return save(path, {"ORDERING": "NUNIQ"}, UNIQ=uniq[mixed], PROBDENSITY=density[mixed])


@pytest.mark.parametrize("make", [nested, ring, multi_order])
@pytest.mark.parametrize("probability", [0.5, 0.9, 1])
def test_sky_map(tmp_path: Path, make: Callable[[Path], Path], probability: float) -> None:
    sky_map = SkyMap(make(tmp_path / "map.fits.gz"), probability)
    found = probabilities()
    densest = np.argsort(-found)
    levels = np.empty(CELLS)
    levels[densest] = np.cumsum(found[densest])
    size = np.count_nonzero(np.cumsum(found[densest]) < probability) + 1
    inside = np.isin(np.arange(CELLS), densest[:size])
    ra, dec = positions(2_000)
    cells = cdshealpix.lonlat_to_healpix(*in_degrees(ra, dec), ORDER).astype(int)
    for cell, each in zip(cells, zip(ra, dec, strict=True), strict=True):
        match = sky_map.at(*each)
        if make is not multi_order:
            assert (match is not None) == inside[cell]
        if match:
            # A part of a cell has less than all of it.
            assert match["in"] == "map.fits.gz"
            assert levels[cell] - found[cell] - 1e-6 < match["probability"] <= levels[cell] + 1e-6


def test_multi_order_map_has_the_area_that_mocpy_finds(tmp_path: Path) -> None:
    path = multi_order(tmp_path / "map.fits")
    columns = fits.getdata(path)
    shares = columns["PROBDENSITY"] / 4.0 ** (np.log2(columns["UNIQ"] / 4) // 2)
    expected = mocpy.MOC.from_valued_healpix_cells(
        columns["UNIQ"].astype(np.uint64), shares / shares.sum(), ORDER + 1, cumul_to=0.9
    )
    ra, dec = positions(5_000)
    sky_map = SkyMap(path, 0.9)
    ours = np.array([sky_map.at(*each) is not None for each in zip(ra, dec, strict=True)])
    # The last cell belongs to the least area that holds it; there, it is left out.
    assert np.count_nonzero(ours != expected.contains_lonlat(*in_degrees(ra, dec))) <= 5


def test_a_map_of_some_pixels(tmp_path: Path) -> None:
    header = {"ORDERING": "NESTED", "NSIDE": 32, "INDXSCHM": "EXPLICIT"}
    pixels = np.array([100, 7000, 20])
    path = save(tmp_path / "part.fits", header, PIXEL=pixels, PROB=np.array([0.2, 0.7, np.nan]))
    lon, lat = cdshealpix.healpix_to_lonlat(pixels, ORDER)
    sky_map = SkyMap(path, 1)
    found = [sky_map.at(*each) for each in zip(lon.deg, lat.deg, strict=True)]
    levels = [each and each["probability"] for each in found]
    assert levels == [1, pytest.approx(7 / 9, abs=1e-6), None]


ONE = np.ones(12)


@pytest.mark.parametrize(
    ("header", "columns", "what"),
    [
        ({}, {"PROB": ONE}, "the map's ORDERING is missing"),
        ({"ORDERING": "SPIRAL"}, {"PROB": ONE}, "the map's ORDERING is SPIRAL"),
        ({"ORDERING": "RING"}, {"T": ONE}, "no column of probability: it has T"),
        ({"ORDERING": "RING"}, {"PROB": ONE[:9]}, "9 pixels and NSIDE"),
        ({"ORDERING": "RING", "COORDSYS": "G"}, {"PROB": ONE}, "other coordinates than ICRS: G"),
        ({"ORDERING": "RING", "COORDSYS": "E"}, {"PROB": ONE}, "other coordinates than ICRS: E"),
        ({"ORDERING": "RING"}, {"PROB": ONE * 0}, "the map has no probability"),
        ({"ORDERING": "RING"}, {"PROB": ONE * np.nan}, "the map has no probability"),
        ({}, {"UNIQ": np.array([1]), "PROBDENSITY": ONE[:1]}, "a UNIQ of the map is not"),
    ],
)
def test_a_map_that_is_none(
    tmp_path: Path, header: dict[str, Any], columns: dict[str, Any], what: str
) -> None:
    path = save(tmp_path / "bad.fits", header, **columns)
    with pytest.raises(UsageError, match=what) as caught:
        SkyMap(path, 0.9)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("make", [Moc, lambda path: SkyMap(path, 0.9)])
@pytest.mark.parametrize(
    "content", [b"", b"no moc", b"{", b"[]", b"SIMPLE  = ", b"\x1f\x8b", b"\x00" * 3000, None]
)
def test_a_file_that_is_neither(
    tmp_path: Path, make: Callable[[Path], Any], content: bytes | None
) -> None:
    path = tmp_path / "bad.fits"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        make(path)
    assert caught.value.where == str(path)
    assert caught.value.todo


@pytest.mark.parametrize("probability", [0, -1, 1.1, math.nan, "0.9", True, None])
def test_a_probability_that_is_none(probability: Any) -> None:
    with pytest.raises(UsageError, match="is not a probability"):
        SkyMap("bayestar.fits", probability)


def test_latitudes_are_astropys() -> None:
    ra, dec = positions(500)
    expected = SkyCoord(ra * units.deg, dec * units.deg)
    for name, angles in (
        ("galactic_latitude", expected.galactic.b.deg),
        ("ecliptic_latitude", expected.barycentricmeanecliptic.lat.deg),
    ):
        found = [alert_at(*each).value(name) for each in zip(ra, dec, strict=True)]
        assert np.abs(angles - found).max() < 1e-9
    assert field_paths(["galactic_latitude"]) == field_paths(["ra", "dec"])
    assert math.isnan(alert_at(None, 5).galactic_latitude)
