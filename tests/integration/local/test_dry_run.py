"""Filters before there is a Kafka: listed, begun, and tried on files of alerts."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fastavro
import pytest
from PIL import Image, ImageColor
from tests.support import samples
from tests.support.commands import (
    COMMAND,
    Finished,
    clean_environment,
    run,
    start,
    stop,
    until,
)
from tests.support.terminal import in_a_terminal

from alertstream.alert.light_curve import BAND_COLOURS
from alertstream.avro.schemas import package_folder

DATA = package_folder("data")
HINT = "decodes whole alerts: it is many times faster with fields"
MINE = '''
from alertstream import AlertFilter


class Blue(AlertFilter):
    """In g.

    And more.
    """

    fields = ("band", "diaSource.snr")

    def passes(self, alert):
        return alert.band == "g"


class Every(AlertFilter):
    def passes(self, alert):
        return alert["diaSource"]["band"] != ""


class Fails(AlertFilter):
    """Fails."""

    fields = ("snr",)

    def passes(self, alert):
        return 1 / 0
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def in_folder(folder: Path, *command: str) -> Finished:
    ended = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )
    return Finished(ended.returncode, ended.stdout, ended.stderr)


def all_visits(finished: Finished) -> dict[str, dict[str, Any]]:
    return {each["filter"]: each for each in finished.objects if each.get("final")}


def test_list(mine: Path) -> None:
    template = "High-confidence and bright: SNR > 5 and brighter than AB magnitude 20."
    listed = run("filter", "--list")
    assert (listed.status, listed.err) == (0, "")
    assert listed.lines == [f"Filter001 … Filter100  {template} · fields: snr, flux"]
    listed = run("filter", "--list", "--filters", mine)
    assert listed.lines[1] == "Blue  In g. · fields: band, diaSource.snr"
    assert listed.lines[2].startswith(f"Every  without a docstring · {HINT}")
    assert listed.lines[3:] == ["Fails  Fails. · fields: snr"]
    listed = run("filter", "--list", "--filters", mine, "--format", "json")
    assert listed.objects[:3] == [
        {"filter": "Filter001-Filter100", "description": template, "fields": ["snr", "flux"]},
        {"filter": "Blue", "description": "In g.", "fields": ["band", "diaSource.snr"]},
        {"filter": "Every", "description": "", "fields": None},
    ]


def test_new_filter_works_as_it_is_written(tmp_path: Path) -> None:
    made = in_folder(tmp_path, COMMAND, "filter", "--new", "MyFilter")
    assert (made.status, made.out) == (0, "MyFilter.py\n")
    tested = in_folder(tmp_path, sys.executable, "-m", "pytest", "-q", "MyFilter.py")
    assert tested.status == 0, tested.out
    assert "2 passed" in tested.out
    path = tmp_path / "MyFilter.py"
    assert (
        run("filter", "--list", "--filters", path).lines[1].startswith("MyFilter  High-confidence")
    )
    tried = run("filter", "--dry-run", DATA, "--filters", path, "MyFilter", "--format", "json")
    assert tried.status == 0
    assert all_visits(tried)["MyFilter"]["seen"] == 256
    path.write_text("mine now")
    again = in_folder(tmp_path, COMMAND, "filter", "--new", "MyFilter")
    assert (again.status, again.out) == (2, "")
    assert again.err == (
        "error: the file exists already, and was not changed · MyFilter.py"
        " · choose another name or folder\n"
    )
    assert path.read_text() == "mine now"


@pytest.mark.parametrize(
    "name",
    [
        *("my-filter", "myfilter", "class", "1st", "Größe", "../X", "A B", "X\n", "A" * 300),
        *("Alert", "AlertFilter", "Filter007", "None"),
    ],
)
def test_new_filter_of_no_name(name: str, tmp_path: Path) -> None:
    made = in_folder(tmp_path, COMMAND, "filter", "--new", name)
    assert (made.status, made.out) == (2, "")
    assert "is not a valid filter name" in made.err
    assert made.err.count("\n") == 1
    assert [*tmp_path.iterdir()] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_new_filter_where_nothing_can_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    made = in_folder(tmp_path, COMMAND, "filter", "--new", "Mine")
    assert (made.status, made.err.count("\n")) == (1, 1)
    assert "cannot write the file: Permission denied · Mine.py" in made.err


def wanted(alert: dict[str, Any]) -> bool:
    source = alert["diaSource"]
    return (source["snr"] or math.nan) > 5 and (source["psfFlux"] or math.nan) > 36_307.8


def test_dry_run_has_the_account_of_a_direct_computation(visits: Path, mine: Path) -> None:
    alerts = []
    for path in sorted(visits.glob("*.avro")):
        with path.open("rb") as file:
            alerts += list(fastavro.reader(file))
    how = ("1-3", "Blue", "Every", "--filters", mine, "--cap", 7, "--format", "json")
    tried = run("filter", "--dry-run", visits, *how)
    assert tried.status == 0, tried.err
    names = ["Filter001", "Filter002", "Filter003", "Blue", "Every"]
    assert list(all_visits(tried)) == names
    assert len(tried.objects) == 4 * len(names)
    for each in tried.objects:
        parts = ("passed", "rejected", "capped", "duplicate", "undecodable", "failed")
        assert each["seen"] == sum(each[part] for part in parts)
        chosen = [alert for alert in alerts if each["visit"] in (None, alert["diaSource"]["visit"])]
        assert each["seen"] == len(chosen)
        if each["filter"] == "Filter002":
            assert each["passed"] + each["capped"] == sum(map(wanted, chosen))
            assert each["visit"] is None or each["passed"] == min(7, sum(map(wanted, chosen)))
    assert "µs per alert" in tried.err
    assert f"Every {HINT}" in tried.err


def test_dry_run_shows_the_first_that_pass() -> None:
    tried = run("filter", "--dry-run", DATA, "1", "--where", "snr > 1e9", "--cap", 20)
    assert tried.status == 0
    title = tried.lines.index("the first that pass Filter001")
    assert "Filter001  all visits: 256 seen = 43 passed" in tried.lines[title - 7]
    assert tried.lines[title - 6].startswith("where  all visits: 256 seen = 0 passed")
    shares = "16.8 % pass: r 12.5 %, i 9.38 %, z 14.1 %, y 31.2 % · of a visit 9.38 % to 31.2 %"
    assert tried.lines[title - 5] == f"Filter001  {shares}"
    assert tried.lines[title - 4].startswith("where  0 % pass: r 0 %, ")
    assert [line.split("  ")[-1] for line in tried.lines[title - 3 : title - 1]] == [
        "all alerts",
        "what passes",
    ]
    assert tried.lines[title + 1].split()[0] == "SOURCE"
    assert len(tried.lines[title + 2 :]) == 3
    assert all(line.split()[2] in "ugrizy" for line in tried.lines[title + 2 :])
    assert "the first that pass where" not in tried.out
    coloured = in_a_terminal("filter", "--dry-run", DATA, "1").out
    assert "\x1b[38;2;" in coloured and "\N{REPLACEMENT CHARACTER}" not in coloured


def test_guard_and_picture(tmp_path: Path) -> None:
    how = ("1-2", "--cap", 0, "--format", "json")
    tried = run("filter", "--dry-run", DATA, *how, "--guard", "5%")
    assert tried.status == 1
    assert "passes 18.8 % of the alerts, and 1 more filter too many · --guard 5%" in tried.err
    final = all_visits(tried)["Filter002"]
    assert (final["share"], final["bands"]["y"]) == (0.1875, {"seen": 64, "passed": 25})
    picture = ("--guard", 0.2, "--picture", tmp_path / "new" / "a.png")
    tried = run("filter", "--dry-run", DATA, *how, *picture)
    assert tried.status == 0, tried.err
    assert "a.png shows what passes any of the filters" in tried.err
    with Image.open(tmp_path / "new" / "a.png") as image:
        colours = {each for _, each in image.convert("RGB").getcolors(1_000_000) or ()}
    assert {ImageColor.getrgb(BAND_COLOURS[band][0]) for band in "rizy"} <= colours
    (tmp_path / "file").touch()
    tried = run("filter", "--dry-run", DATA, "1", "--picture", tmp_path / "file" / "a.png")
    assert tried.status == 1
    assert "error: the picture cannot be written (File exists)" in tried.err


@pytest.mark.parametrize("version", samples.VERSIONS[::4])
def test_dry_run_on_official_samples(version: str) -> None:
    tried = run("filter", "--dry-run", samples.sample_file(version), "--where", "snr > 5")
    assert tried.status == 0
    assert "where  all visits: 1 seen = 1 passed" in tried.out


def test_dry_run_on_files_whose_schema_is_not_known(tmp_path: Path) -> None:
    source = [{"name": "own", "type": "long"}, {"name": "snr", "type": "float"}]
    field = {"name": "diaSource", "type": {"type": "record", "name": "s", "fields": source}}
    schema = {"type": "record", "name": "lsst.v99_0.alert", "fields": [field]}
    alerts = [{"diaSource": {"own": number, "snr": 7.0}} for number in range(40)]
    samples.write_container(tmp_path / "a.avro", schema, alerts, codec="deflate")
    field = {"name": "candidate", "type": field["type"]}
    schema = {"type": "record", "name": "ztf.alert", "fields": [field]}
    alerts = [{"candidate": {"own": number, "snr": 7.0}} for number in range(3)]
    samples.write_container(tmp_path / "b.avro", schema, alerts)
    for where, passed in (("diaSource.own >= 30", 10), ("candidate.own > 1", 1)):
        tried = run("filter", "--dry-run", tmp_path, "--where", where, "--format", "json")
        assert tried.status == 0, tried.err
        assert all_visits(tried)["where"]["passed"] == passed
    wrong = run("filter", "--dry-run", tmp_path, "--where", "diaSource.pwn > 1")
    assert (wrong.status, wrong.out) == (2, "")
    assert wrong.err.endswith("did you mean diaSource.own?\n")


def test_dry_run_counts_what_cannot_be_judged(mine: Path, tmp_path: Path) -> None:
    size = ("--alerts", 30, "--cutout-size", 15, "--history", 1)
    faulty = tmp_path / "faulty"
    made = run("simulate", faulty, "--visits", 1, *size, "--faults", "truncated,garbage,unknown-id")
    assert made.status == 0, made.err
    tried = run("filter", "--dry-run", faulty, "1", "--format", "json")
    assert tried.status == 3
    assert all_visits(tried)["Filter001"]["undecodable"] == 3
    assert tried.err.count("undecodable message: ") == 3
    tried = run("filter", "--dry-run", DATA, "--filters", mine, "Fails", "--format", "json")
    assert tried.status == 3
    assert all_visits(tried)["Fails"]["failed"] == 256
    assert tried.err.count("ZeroDivisionError: division by zero") == 1


def test_dry_run_on_a_damaged_file(tmp_path: Path) -> None:
    (whole, *_) = sorted(DATA.glob("*.avro"))
    cut = tmp_path / "cut.avro"
    cut.write_bytes(whole.read_bytes()[:400_000])
    tried = run("filter", "--dry-run", cut, "1")
    assert tried.status == 1
    assert "Filter001  all visits: 13 seen" in tried.lines[1]
    assert "error: the file is damaged after record 13" in tried.err


def test_dry_run_takes_options_from_where_others_do(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        "[filter]\ncap = 1\n[profiles.far]\nbroker = 'h:1'\npassword_file = '/nope'\n"
    )
    environment = {"ALERTSTREAM_CONFIG": str(config), "ALERTSTREAM_PROFILE": "far"}
    for how, more in (
        (("--dry-run", DATA, "1"), {}),
        ((f"--dry-run={DATA}", "1"), {"ALERTSTREAM_PROFILE": ""}),
        (("1",), {"ALERTSTREAM_FILTER_DRY_RUN": str(DATA)}),
    ):
        tried = run("filter", *how, "--format", "json", **(environment | more))
        assert tried.status == 0, tried.err
        assert all_visits(tried)["Filter001"]["passed"] == 4
    assert run("filter", "--list", **environment).status == 0
    missing = run("filter", **environment)
    assert missing.err.startswith("error: Missing argument 'TOPIC'.")


def test_dry_run_ends_with_its_account_when_it_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "slow.py"
    path.write_text(
        "from pathlib import Path\nfrom time import sleep\n"
        "from alertstream import AlertFilter\n"
        "class Slow(AlertFilter):\n    fields = ()\n    def passes(self, alert):\n"
        f"        Path({str(tmp_path / 'begun')!r}).touch()\n        sleep(0.02)\n"
    )
    trying = start(
        "filter", "--dry-run", DATA, "--filters", path, "--format", "json", out=tmp_path / "out"
    )
    until((tmp_path / "begun").exists, "a first alert is judged")
    assert stop(trying).status == 0
    text = (tmp_path / "out").read_text()
    assert '"visit": null, "seen": ' in text
    assert '"seen": 256' not in text
