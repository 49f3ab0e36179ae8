"""Watchlists: tables as people have them, which target is found, and files that change."""

from __future__ import annotations

import gzip
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from astropy import units
from astropy.coordinates import SkyCoord, angular_separation
from astropy.table import MaskedColumn, Table
from tests.support.sky import Numbers, alert_at, positions

from alertstream.cli.app import status_of
from alertstream.errors import UsageError
from alertstream.sky import Moc, Watchlist, watched_file
from alertstream.sky.index import TargetIndex
from alertstream.sky.joining import join_tables

RANDOM = np.random.default_rng(8)
RADII: dict[str, Any] = {
    "small": 2 / 3600,
    "large": 40.0,
    "half of the sky": 91.0,
    "all of the sky": 180.0,
    "mixed": 10 ** RANDOM.uniform(-4, 2.2, 1000),
}


@pytest.mark.parametrize("kind", RADII)
def test_the_nearest_target_whose_radius_has_a_position(kind: str) -> None:
    radii = RADII[kind]
    ra, dec = positions(1000, seed=7)
    dec[950:], ra[975:] = RANDOM.choice([90, -90, 0], 50), 0
    index = TargetIndex(ra, dec, radii)
    of_each = np.broadcast_to(radii, 1000)
    row = RANDOM.integers(0, 1000, 600)
    # Half of them at the edge of a target's radius.
    near_dec = np.clip(dec[row] + of_each[row] * RANDOM.choice([-1, 1], 600), -90, 90)
    searched_ra = np.concatenate((positions(600, seed=9)[0], ra[row] + 360))
    searched_dec = np.concatenate((positions(600, seed=9)[1], near_dec))
    at = map(np.radians, (searched_ra[:, None], searched_dec[:, None], ra[None], dec[None]))
    apart = np.degrees(angular_separation(*at))
    # On an edge, rounding decides.
    for each, separations in enumerate(apart):
        found = index.nearest(searched_ra[each], searched_dec[each])
        inside = separations <= of_each - 1e-11
        if found is None:
            assert not inside.any()
        else:
            assert found[1] <= separations[inside].min(initial=180.0) + 1e-11
            assert found[1] <= of_each[found[0]]
            assert separations[found[0]] == pytest.approx(found[1], abs=1e-11)


def table(**columns: Any) -> Table:
    return Table(columns)


def as_csv(found: Table, path: Path, delimiter: str = ",") -> None:
    found.write(path, format="ascii.csv", delimiter=delimiter)


def as_tsv(found: Table, path: Path) -> None:
    as_csv(found, path, "\t")


def as_gzip(found: Table, path: Path) -> None:
    as_csv(found, path)
    path.write_bytes(gzip.compress(path.read_bytes()))


def as_parquet(found: Table, path: Path) -> None:
    columns = {name: pyarrow.array(found[name].tolist()) for name in found.colnames}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def as_format(name: str, **options: Any) -> Callable[[Table, Path], None]:
    return lambda found, path: found.write(path, format=name, **options)


FORMATS: dict[str, Callable[[Table, Path], None]] = {
    "csv": as_csv,
    "tsv": as_tsv,
    "csv.gz": as_gzip,
    "parquet": as_parquet,
    "ecsv": as_format("ascii.ecsv"),
    "fits": as_format("fits"),
    "fits.gz": as_format("fits"),
    "vot": as_format("votable"),
    "xml": as_format("votable", tabledata_format="binary2"),
}


@pytest.mark.parametrize("form", FORMATS)
def test_formats(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"targets.{form}"
    names = ["M31", "M 32", "NGC 205"]
    ra, dec = [10.6847, 10.6743, 10.092], [41.269, 40.8652, 41.6853]
    FORMATS[form](table(name=names, mag=[3, 8, 8], RAJ2000=ra, DEJ2000=dec), path)
    targets = Watchlist(path, "2 arcsec")
    assert targets.size == 3
    alert = alert_at(10.6743, 40.8651)
    assert alert in targets
    assert alert.matches == [{"in": path.name, "target": "M 32", "separation": 0.36}]
    assert alert_at(10.6743, 40.86) not in targets


@pytest.mark.parametrize(
    ("header", "row", "target"),
    [
        ("ra,dec", "10.5,-20.25", 1),
        ("RA,DEC,id", "10.5,-20.25,7", 7),
        ("# ra, dec, name", "10.5,-20.25,007", "007"),
        ("name,ra,dec\n# old,10.5,-20.25", "new,10.5,-20.25\n# more,1,2\n#", "new"),
        ("# hers\n#name,ra,dec", "M31,10.5,-20.25", "M31"),
        ('"objid","name","ra","declination"', '"1","2024abc","10.5","-20.25"', "2024abc"),
        ("# made by hand\nra;decl;Name", "10.5;-20.25; x y ", "x y"),
        ("RA (deg),Dec (deg),main_id", '10.5,-20.25,"a, b"', "a, b"),
        ("RAJ2000,DEJ2000,_RA,_DE", "00:42:00,-20:15:00,10.5,-20.25", 1),
        ("raMean,decMean,objID", "10.5,-20.25,123456789012345678", 123456789012345678),
        ("ALPHA_J2000,DELTA_J2000,object", "10.5,-20.25,", 1),
        ("ra_hours,dec_deg", "0.7,-20.25", 1),
        ("ra_rad,dec_rad", "0.1832595714594046,-0.35342917352885173", 1),
        ("ra,dec", "00:42:00,-20:15:00", 1),
        ("ra,dec", "00 42 00.00,-20 15 00.0", 1),
        ("ra,dec", "0h42m00s,-20d15m00s", 1),
        ("ra,dec", "0:42,-20:15", 1),
        ("ra,dec", "10d30m00s,-20d15m00s", 1),
        ("ra,dec", "-349.5,-20.25", 1),
        (
            '\n#\n#name: x\n\n_RAJ2000\tRAJ2000\tDEJ2000\ndeg\t"h:m:s"\tdeg\n---\t--\t---',
            "10.5\t1\t-20.25\n\n#END#",
            1,
        ),
        ('RAJ2000|DEJ2000\n"h:m:s"|"d:m:s"\n-----| ----', "00 42 00|-20 15 00", 1),
        ("pmra,pmdec,e_ra,ra,dec,e_dec", "1,2,3,10.5,-20.25,4", 1),
    ],
)
def test_columns_as_people_have_them(tmp_path: Path, header: str, row: str, target: Any) -> None:
    path = tmp_path / "targets.csv"
    path.write_text(f"{header}\n{row}\n", encoding="utf-8")
    found = Watchlist(path, "1 arcsec").at(10.5, -20.25)
    assert found == {"in": "targets.csv", "target": target, "separation": 0.0}


def test_units_of_the_file(tmp_path: Path) -> None:
    columns = {"ra": [0.7] * units.hourangle, "dec": [-20.25] * units.deg}
    table(**columns, radius=[0.5] * units.arcmin).write(tmp_path / "a.ecsv")
    table(ra=[np.radians(10.5)] * units.rad, dec=columns["dec"]).write(tmp_path / "b.fits")
    assert Watchlist(tmp_path / "a.ecsv").at(10.5, -20.242)
    assert not Watchlist(tmp_path / "a.ecsv").at(10.5, -20.241)
    assert Watchlist(tmp_path / "b.fits", "1 arcsec").at(10.5, -20.25)
    coord = SkyCoord([0.0, 10.5], [0.0, -20.25], unit="deg")
    table(name=['"a" #1', "#2 b"], coord=coord).write(tmp_path / "c.ecsv", delimiter=",")
    found = Watchlist(tmp_path / "c.ecsv", "1 arcsec").at(10.5, -20.25)
    assert found == {"in": "c.ecsv", "target": "#2 b", "separation": 0.0}


def test_each_row_may_have_a_radius(tmp_path: Path) -> None:
    path = tmp_path / "targets.csv"
    path.write_text("name,ra,dec,radius\nwide,0,90,7200\nnear,10,-5,\nother,11,-5,1\n")
    targets = Watchlist(path, "60 arcsec")
    found = [targets.at(*each) for each in ((200, 88.1), (10, -5.01), (11, -5.01))]
    assert [each and each["target"] for each in found] == ["wide", "near", None]
    with pytest.raises(UsageError, match="targets have no radius"):
        Watchlist(path)
    path.write_text("ra,dec,radius_deg\n0,90,1\n")
    assert Watchlist(path).at(0, 89.01)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "the file is not a table"),
        ("name,x\nM31,1\n", "no columns of positions among name, x"),
        ("10.5,41.2\n", "no columns of positions among 10.5, 41.2"),
        ("ra,dec\n", "the table has no rows"),
        ("ra,dec\n1,2\n3,\nnan,2\n", "2 of 3 rows have no position, the first is 2"),
        ("ra,dec\n1,2\n3,inf\n", "1 of 2 rows have no position, the first is 2"),
        ("ra,dec\n1,2\n3,95\n", "row 2 is not a position: 3, 95"),
        ("ra,dec", "the table has no rows"),
        ("ra,dec\n,--\n0:42:00,-20:15:00\n", "1 of 2 rows have no position, the first is 1"),
        ("ra,dec\n1,2\nNaN,3\nM31,3\n", "ra of row 3 is not an angle: 'M31'"),
        ("ra,dec\n1,2\nM31,3\n", "ra of row 2 is not an angle: 'M31'"),
        ("ra,dec\n1:70:00,2\n", "ra of row 1 is not an angle"),
        ("ra,dec\ntrue,2\n", "ra is neither numbers nor text"),
        ("ra,dec,radius\n1,2,-1\n", "radius of row 1 is not between 0 and 180 degrees"),
        ("ra,dec,radius\n1,2,wide\n", "radius is not numbers"),
        ("ra,dec\n1,2\n3\n", "cannot be read: CSV"),
        ("<VOTABLE", "cannot be read"),
        ("SIMPLE  = ", "cannot be read"),
        ("PAR1", "cannot be read"),
        ("\x1f\x8b", "cannot be read"),
        ("a\0b", "the file is not a table"),
        ("# %ECSV 1.0\n# ---\n# junk", "cannot be read"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, content: str, what: str) -> None:
    path = tmp_path / "targets.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError) as caught:
        Watchlist(path, "2 arcsec")
    assert what in caught.value.what
    assert caught.value.where == str(path)
    assert caught.value.todo


@pytest.mark.parametrize("library", ["mocpy", "cdshealpix", "astropy.io"])
def test_a_missing_extra_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "alertstream.sky.maps", raising=False)
    monkeypatch.delattr("alertstream.sky.maps", raising=False)
    (tmp_path / "region.json").write_text('{"0": [0]}')
    with pytest.raises(UsageError, match=r"packages that are not installed .*\[sky\]"):
        Moc(tmp_path / "region.json")


def test_masked_positions_are_missing(tmp_path: Path) -> None:
    ra = MaskedColumn([1.0, 2.0], mask=[False, True])
    for form in ("ecsv", "vot", "parquet"):
        path = tmp_path / f"targets.{form}"
        as_format({"ecsv": "ascii.ecsv", "vot": "votable"}.get(form, form))(
            table(ra=ra, dec=[1.0, 2.0]), path
        )
        with pytest.raises(UsageError, match="1 of 2 rows have no position, the first is 2"):
            Watchlist(path, "2 arcsec")


VOTABLE = """<?xml version="1.0"?>{}
<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>
<FIELD name="ra" datatype="double"/><FIELD name="dec" datatype="double"/>
<DATA>{}</DATA></TABLE></RESOURCE></VOTABLE>"""


@pytest.mark.parametrize(
    ("before", "data"),
    [
        ('<!DOCTYPE x [<!ENTITY a "1"><!ENTITY b "&a;&a;">]>', "<TABLEDATA/>"),
        ("", '<BINARY><STREAM\n encoding="base64"\thref="file:///etc/passwd"/></BINARY>'),
        ("", "<FITS><v:STREAM href = 'http://localhost:1/x' xmlns:v='y'/></FITS>"),
    ],
)
@pytest.mark.hostile("a VOTable that names other files, or grows")
def test_votables_that_reach_out(tmp_path: Path, before: str, data: str) -> None:
    path = tmp_path / "targets.vot"
    for encoding in ("utf-8", "utf-16"):
        path.write_text(VOTABLE.format(before, data), encoding=encoding)
        with pytest.raises(UsageError):
            Watchlist(path, "2 arcsec")


def test_what_is_no_radius_or_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        Watchlist(tmp_path / "none.csv", "2 arcsec")
    with pytest.raises(UsageError, match="there is no such file"):
        Watchlist(tmp_path, "2 arcsec")
    with pytest.raises(UsageError, match="2 is not a valid radius"):
        Watchlist(tmp_path, 2)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="5 is not a file's name"):
        Moc(5)  # type: ignore[arg-type]


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_file, "LOOK_INTERVAL", 0.001)


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.usefixtures("looking")
def test_a_file_that_changes_is_read_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, other = tmp_path / "targets.csv", tmp_path / "new"

    def write(text: str) -> None:
        other.write_text(text)
        other.replace(path)

    write("ra,dec\n1,2\n")
    targets = Watchlist(path, "2 arcsec")
    assert alert_at(1, 2) in targets
    with caplog.at_level(logging.WARNING, "alertstream"):
        write("ra,dec\n1,2\n3,4\n")
        until(lambda: alert_at(3, 4) in targets)
        until(lambda: caplog.messages)
        assert caplog.messages == ["targets.csv has changed, and was read again"]
        # What cannot be read leaves what was there.
        for change, told in (
            (lambda: write("ra,dec\n5,6\n7"), "cannot be read"),
            (path.unlink, "the file is gone"),
        ):
            caplog.clear()
            change()
            until(lambda: caplog.messages)
            assert told in caplog.messages[0]
            assert caplog.messages[0].endswith("what was read of it before stays in use")
            assert alert_at(3, 4) in targets
        write("ra,dec\n9,9\n9,8\n")
        until(lambda: alert_at(9, 9) in targets)
        assert alert_at(3, 4) not in targets
        assert targets.size == 2


def test_targets_are_found_in_sorted_tables(tmp_path: Path) -> None:
    """As many as there are, each is found where it is, by its own name."""
    ra, dec = positions(2000, seed=3)
    ids: Numbers = np.arange(2000)
    as_parquet(table(source_id=ids, ra=ra, dec=dec), tmp_path / "t.parquet")
    targets = Watchlist(tmp_path / "t.parquet", "1 mas")
    found = [targets.at(*each) for each in zip(ra, dec, strict=True)]
    apart = [i for i, each in enumerate(found) if not each or each["target"] != i]
    # Some near the poles are within a milliarcsecond of each other.
    assert len(apart) < 20
    assert all(found)


@pytest.mark.parametrize("radius", [0.5 / 3600, 2 / 3600, 0.3, 20.0])
def test_duplicates_are_those_near_an_earlier_row(tmp_path: Path, radius: float) -> None:
    ra, dec = positions(1500, seed=11)
    ra, dec = ra.round(3), dec.round(3)
    ra[:20], dec[700:720], ra[1000:1100] = 0.0, -90, ra[900:1000] % 360
    dec[1000:1100] = np.clip(dec[900:1000] + RANDOM.uniform(-1, 1, 100) * 2 * radius, -90, 90)
    as_parquet(table(ra=ra, dec=dec), tmp_path / "t.parquet")
    joined = join_tables([tmp_path / "t.parquet"], tmp_path / "out.parquet", radius, unique=True)
    at = map(np.radians, (ra[:, None], dec[:, None], ra[None], dec[None]))
    near = np.degrees(angular_separation(*at)) <= radius
    expected = np.tril(near, -1).any(axis=1)
    assert joined.duplicates == np.count_nonzero(expected)
    assert joined.targets == 1500 - joined.duplicates
    kept = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert sorted(kept["ra"].to_pylist()) == sorted((ra[~expected] % 360).tolist())


def test_tables_are_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text(
        "name,ra,dec,radius\nM31,10.6847,41.2687,60\nx,,,\nM32,-350,40,\n"
    )
    (tmp_path / "b.csv").write_text("RAJ2000,DEJ2000\n10.6847,41.2688\n")
    (tmp_path / "c.csv").write_text("id,ra,dec\n7,1,-2\n")
    tables = [str(tmp_path / f"{name}.csv") for name in "abc"]
    out = str(tmp_path / "targets.parquet")
    assert status_of(["watchlist", "build", *tables, "-o", out]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tables[0]}  3 rows, 1 of them without a position",
        f"{tables[1]}  1 rows, 0 of them without a position",
        f"{tables[2]}  1 rows, 0 of them without a position",
        "duplicates  1 within 2 arcsec of an earlier row, kept: --unique leaves them out",
        "coverage  0.16 square degrees, 0.00% of the sky, in cells of 14 arcmin",
        f"{out}  4 targets",
    ]
    found = pyarrow.parquet.read_table(out).to_pylist()
    assert [each["name"] for each in found] == ["7", "M32", "M31", "b 1"]
    assert [each["radius_arcsec"] for each in found] == [None, None, pytest.approx(60), None]
    targets = Watchlist(out, "1 arcsec")
    assert (targets.at(10.6847, 41.28) or {})["target"] == "M31"
    assert not targets.at(1, -2.001)
    again = ["watchlist", "build", *tables, "-o", out, "--unique", "--format", "json"]
    assert status_of(again) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["rows"] == [3, 1, 1]
    assert (about["targets"], about["duplicates"]) == (3, 1)
    assert 0 < about["sky_fraction"] < 1e-5


def test_targets_keep_their_radii_whichever_table_has_none(tmp_path: Path) -> None:
    texts = ("ra,dec,radius\n1,1,60\n", "ra,dec\n2,2\n3,3\n", "ra,dec,radius\n4,4,5\n")
    paths = [tmp_path / f"{number}.csv" for number in range(3)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    join_tables(paths, tmp_path / "out.parquet", 1.0)
    found = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert found["radius_arcsec"].to_pylist() == [60, None, None, 5]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["a.csv"], 2, "Missing option '--output'"),
        (["-o", "x.parquet"], 2, "Missing argument 'TABLE"),
        (["a.csv", "-o", "x.parquet", "--radius", "2"], 2, "'2' is not a valid radius · --radius"),
        (["none.csv", "-o", "x.parquet"], 2, "cannot be read: No such file"),
        (["empty.csv", "-o", "x.parquet"], 2, "no row has a position"),
        (["a.csv", "-o", "a.csv"], 2, "the file is Parquet · a.csv · end its name in .parquet"),
        (["a.csv", "b.parquet", "-o", "./b.parquet"], 2, "would be written over · b.parquet"),
        (["a.csv", "-o", "a.csv/x.parquet"], 1, "the file cannot be written"),
    ],
)
def test_tables_that_cannot_be_joined(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("ra,dec\n1,2\n")
    Path("empty.csv").write_text("ra,dec\n,2\n")
    Path("b.parquet").write_text("what is in it is not looked at")
    assert status_of(["watchlist", "build", *arguments]) == status
    assert said in capsys.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.csv", "b.parquet", "empty.csv"]
