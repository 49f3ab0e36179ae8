"""Pictures of cutouts: in files, in a terminal, and on a page; and what is no picture at all."""

from __future__ import annotations

import math
import re
import signal
from pathlib import Path
from typing import Any

import fastavro
import pytest
from PIL import Image
from tests.support import raw_kafka
from tests.support.commands import run, send_visits, start, stop, until
from tests.support.html_page import Loaded
from tests.support.images import BROKEN, GOOD
from tests.support.samples import official_schema, sample_alert, write_container
from tests.support.terminal import in_a_terminal
from tests.support.ztf import ztf_alert


def test_pictures_become_files(kafka: str, stream: str, tmp_path: Path) -> None:
    how = ("--stampDir", tmp_path, "--exit-on-eof")
    printed = run("print", kafka, stream, 30, *how, "--stampFormat", "png")
    assert printed.status == 0, printed.err
    assert printed.err.endswith(
        f"4 printed + 116 skipped + 0 undecodable\n4 pictures saved in {tmp_path}\n"
    )
    numbers = {line.split()[0] for line in printed.lines[1:]}
    assert {path.name for path in tmp_path.iterdir()} == {f"{each}.png" for each in numbers}
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert (image.format, image.size) == ("PNG", (752, 310))
    both = run("print", kafka, stream, "-n", 3, *how, "--stamp-format", "both")
    assert both.err.endswith(f"\n9 cutouts and 3 pictures saved in {tmp_path}\n")
    assert len(list(tmp_path.glob("*.fits"))) == 9


def test_picture_of_a_ztf_alert(kafka: str, topic: str, tmp_path: Path) -> None:
    names = {"Science": "a.fits.gz", "Template": "../b.fits.gz", "Difference": "c.fits.gz"}
    raw_kafka.make(kafka, topic)
    raw_kafka.write(kafka, topic, [ztf_alert(**names)[1]])
    folder, page = tmp_path / "stamps", tmp_path / "page.html"
    how = ("--stampDir", folder, "--stampFormat", "both", "--html", page)
    printed = run("print", kafka, topic, "--exit-on-eof", *how)
    assert printed.status == 0, printed.err
    assert f"3 cutouts and 1 pictures saved in {folder}\n" in printed.err
    assert (folder / "1060135832015015002.png").exists()
    assert len(list(folder.iterdir())) == 4
    assert "now: MJD 58814.13601, r, 127962 ± 15899 nJy" in page.read_text()


@pytest.fixture
def broken_stream(kafka: str, topic: str, tmp_path: Path) -> tuple[str, list[dict[str, Any]]]:
    """A topic of alerts of which each has a cutout that is no image, and its alerts."""
    alerts = []
    for number, (content, _) in enumerate([*BROKEN.values()] * 2):
        alert = sample_alert("10.0") | {"cutoutScience": GOOD, "cutoutTemplate": None}
        alert["cutoutDifference"] = content if len(content) < 500_000 else b""
        alert["diaSource"] = alert["diaSource"] | {"diaSourceId": number + 1}
        alerts.append(alert)
    path = write_container(tmp_path / "a.avro", official_schema("10.0"), alerts)
    send_visits(kafka, topic, path)
    return topic, alerts


@pytest.mark.parametrize("kind", ["png", "both"])
def test_broken_cutouts_are_told_once_and_kept(
    kafka: str, broken_stream: tuple[str, list[dict[str, Any]]], tmp_path: Path, kind: str
) -> None:
    topic, alerts = broken_stream
    folder, count = tmp_path / "stamps", len(alerts)
    how = ("--stampDir", folder, "--stampFormat", kind, "--html", tmp_path / "page.html")
    printed = run("print", kafka, topic, "--exit-on-eof", *how)
    assert printed.status == 0, printed.err
    assert len(printed.lines) == count + 1
    assert f"undecodable, {count} cutouts cannot be shown\n" in printed.err
    cutouts = count if kind == "png" else 2 * count
    assert f"{cutouts} cutouts and {count} pictures saved in {folder}\n" in printed.err
    assert f"{count} saved in " in printed.err
    told = [line for line in printed.err.splitlines() if "cutout cannot be shown" in line]
    causes = [line.split(": ")[1].split(" · ")[0] for line in told]
    assert len(causes) == len(set(causes)) >= 8
    assert all(line.endswith("kept as FITS") for line in told)
    for alert in alerts:
        number = alert["diaSource"]["diaSourceId"]
        saved = folder / f"{number}-Difference.fits"
        assert saved.read_bytes() == alert["cutoutDifference"]
        assert (folder / f"{number}-Science.fits").exists() is (kind == "both")


def test_alerts_without_cutouts_have_no_picture(kafka: str, topic: str, tmp_path: Path) -> None:
    nothing = {f"cutout{name}": None for name in ("Science", "Template", "Difference")}
    path = write_container(
        tmp_path / "a.avro", official_schema("10.0"), [sample_alert("10.0") | nothing]
    )
    send_visits(kafka, topic, path)
    how = ("--stampDir", tmp_path / "stamps", "--stampFormat", "png", "--html", tmp_path / "p.html")
    printed = run("print", kafka, topic, "--exit-on-eof", *how)
    assert printed.status == 0
    assert "1 printed + 0 skipped + 0 undecodable\n0 pictures saved in" in printed.err
    assert not (tmp_path / "stamps").exists()
    assert "img" not in Loaded((tmp_path / "p.html").read_text()).tags


@pytest.mark.parametrize("more", [(), ("--format", "json", "--fields", "magnitude")])
def test_page_has_what_was_printed(
    kafka: str, stream: str, visits: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    path = tmp_path / "page.html"
    printed = run("print", kafka, stream, 10, "--exit-on-eof", "--html", path, *more)
    assert printed.status == 0, printed.err
    assert printed.err.endswith(f"12 saved in {path}\n")
    loaded = Loaded(path.read_text())
    assert loaded.tags.count("img") == loaded.tags.count("svg") == 12
    with sorted(visits.iterdir())[0].open("rb") as file:
        alerts = list(fastavro.reader(file))
    there = [alert for alert in alerts if str(alert["diaSourceId"]) in loaded.text]
    assert len(there) == 12
    lengths = {
        len(a["prvDiaSources"] or ()) + len(a["prvDiaForcedSources"] or ())
        for a in there
        if a["diaSource"]["psfFlux"] is not None and math.isfinite(a["diaSource"]["psfFlux"])
    }
    curves = (each.partition(";")[0] for each in loaded.values("aria-label"))
    assert {sum(map(int, re.findall(r"\d+", each))) for each in curves} >= lengths


@pytest.mark.parametrize(
    "how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_page_is_written_when_stopped(
    kafka: str, stream: str, tmp_path: Path, how: signal.Signals
) -> None:
    path, out = tmp_path / "page.html", tmp_path / "out"
    process = start("print", kafka, stream, 4, "--html", path, out=out)
    until(lambda: out.read_text().count("\n") == 31, "all is printed")
    assert not path.exists()
    ended = stop(process, how)
    assert ended.status == 0
    assert Loaded(path.read_text()).tags.count("img") == 30
    assert sorted(tmp_path.iterdir()) == [out, path]


def test_page_is_written_when_the_reader_leaves(kafka: str, stream: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    process = start("print", kafka, stream, 4, "--html", path, "--exit-on-eof")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.wait(30) == 0
    assert process.stderr is not None
    process.stderr.close()
    assert path.read_text().endswith("</html>\n")


@pytest.mark.parametrize("columns", [80, 40, 12, 200])
def test_cutouts_in_a_terminal(kafka: str, stream: str, columns: int) -> None:
    how = ("--show-cutouts", "--exit-on-eof", "-n", 2)
    shown = in_a_terminal("print", kafka, stream, *how, columns=columns)
    assert shown.status == 0, shown.err
    assert shown.err.startswith("2 read = 2 printed")
    text = re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|_[^\x1b]*\x1b\\)", "", shown.out)
    drawn = [line.rstrip("\r") for line in text.splitlines() if "▀" in line]
    edge = (min(columns, 98) - 2) // 6 * 2
    assert len(drawn) == edge
    assert {len(line) for line in drawn} == {3 * edge + 2}
    if columns >= 80:
        assert "difference, white=brighter" in text


def test_terminal_without_colour(kafka: str, stream: str) -> None:
    how = ("--show-cutouts", "--exit-on-eof", "-n", 1)
    shown = in_a_terminal("print", kafka, stream, *how, TERM="dumb", COLORTERM="")
    assert shown.status == 0
    assert "\x1b" not in shown.out
    assert re.search("[░▒▓█]", shown.out)


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (["--show-cutouts"], 2, "needs a terminal as its output"),
        (["--show-cutouts", "--format", "json"], 2, "does not work with --format json"),
        (["--show-cutouts", "--format", "csv"], 2, "does not work with --format csv"),
        (["--stampFormat", "jpeg"], 2, "'jpeg' is not one of 'fits', 'png', 'both'"),
        (["--html", "/"], 2, "/ is not a known kind of file"),
        (["--html", ""], 2, "the value of --html is empty"),
        (["--save", "page.htmlx"], 2, "end its name in .avro, .parquet or .html"),
        (["--html", "/dev/null/page.html"], 1, "the file cannot be written"),
    ],
)
def test_wrong_arguments(kafka: str, arguments: list[str], status: int, what: str) -> None:
    printed = run("print", kafka, "nowhere", *arguments)
    assert (printed.status, printed.out) == (status, "")
    assert what in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("library", "arguments"),
    [
        ("PIL", ["--stampDir", "stamps", "--stampFormat", "png"]),
        ("astropy", ["--html", "page.html"]),
        ("jinja2", ["--html", "page.html"]),
    ],
)
def test_without_the_libraries(
    kafka: str, tmp_path: Path, library: str, arguments: list[str]
) -> None:
    (tmp_path / library).mkdir()
    (tmp_path / library / "__init__.py").write_text("raise ImportError")
    printed = run("print", kafka, "nowhere", *arguments, PYTHONPATH=str(tmp_path))
    assert printed.status == 2
    assert "pip install 'alertstream[images]'" in printed.err
    assert printed.err.count("\n") == 1


def test_stamps_as_fits_need_no_libraries(kafka: str, stream: str, tmp_path: Path) -> None:
    for library in ("PIL", "astropy", "numpy", "jinja2", "textual_image"):
        (tmp_path / library).mkdir()
        (tmp_path / library / "__init__.py").write_text("raise ImportError")
    how = ("--stampDir", tmp_path / "stamps", "-n", 2, "--exit-on-eof")
    printed = run("print", kafka, stream, *how, PYTHONPATH=str(tmp_path))
    assert printed.status == 0, printed.err
    assert "6 cutouts saved" in printed.err


def test_picture_format_without_a_folder_is_told(kafka: str, stream: str) -> None:
    printed = run("print", kafka, stream, "--stampFormat", "png", "-n", 1)
    assert printed.status == 0
    assert "has no effect without --stampDir" in printed.err
