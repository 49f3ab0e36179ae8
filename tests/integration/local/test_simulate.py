"""Simulated alerts hang together as real ones do."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from tests.support import raw_kafka
from tests.support.commands import run

from alertstream.local.simulate.files import FAULTS, MANIFEST, UNKNOWN_ID

ROOT = Path(__file__).parents[3]


def bright(source: dict[str, Any]) -> bool:
    snr, flux = source["snr"], source["psfFlux"]
    return snr is not None and flux is not None and snr > 5 and flux > 36_307.8


def alerts_in(path: Path) -> list[Any]:
    with path.open("rb") as file:
        return list(fastavro.reader(file))


def assert_same(made: Any, expected: Any) -> None:
    """Floats may differ in the last bits: mathematical libraries do, between processors."""
    if isinstance(expected, float):
        assert made == pytest.approx(expected, rel=1e-6, abs=1e-9, nan_ok=True)
    elif isinstance(expected, dict):
        assert [*made] == [*expected]
        for name, value in expected.items():
            assert_same(made[name], value)
    elif isinstance(expected, list):
        for each, value in zip(made, expected, strict=True):
            assert_same(each, value)
    elif isinstance(expected, bytes):
        assert made[:2880] == expected[:2880]
        pixels, others = (np.frombuffer(each, ">f4", offset=2880) for each in (made, expected))
        assert np.allclose(pixels, others, rtol=1e-5, atol=1e-2)
    else:
        assert made == expected


def test_whole_messages_have_their_ids(tmp_path: Path) -> None:
    size = ("--visits", 1, "--alerts", 20, "--cutout-size", 15)
    (tmp_path / "visit-1.avro").touch()
    made = run("simulate", tmp_path, *size, "--faults", "empty")
    assert made.status == 0
    assert "besides, there were 1 .avro files in" in made.err
    assert "replaced" not in made.err
    (tmp_path / "visit-1.avro").unlink()
    made = run("simulate", tmp_path, *size, "--faults", "empty")
    assert f"replaced: 1 of the files that were in {tmp_path}" in made.err
    sent = run("send", "127.0.0.1:1", "x", "--data", tmp_path, "--schema-id", 7)
    assert sent.status == 2
    assert "leave out --schema-id" in sent.err


def test_fault_that_is_none(tmp_path: Path) -> None:
    made = run("simulate", tmp_path, "--faults", "truncated,nonsense")
    assert (made.status, made.out) == (2, "")
    assert "nonsense is not a valid fault · choose truncated, " in made.err


def test_consumers_account_for_all_faults(kafka: str, topic: str, tmp_path: Path) -> None:
    size = ("--visits", 2, "--alerts", 40, "--cutout-size", 15, "--history", "0-3")
    made = run("simulate", tmp_path, *size, "--faults", "all")
    assert made.status == 0, made.err
    lines = (tmp_path / MANIFEST).read_text(encoding="utf-8").splitlines()
    manifest = [json.loads(line) for line in lines]
    assert Counter(each["kind"] for each in manifest) == dict.fromkeys(FAULTS, 2)
    sent = run("send", kafka, topic, "--data", tmp_path, "--interval", 0, "--format", "json")
    assert sent.status == 0, sent.err
    assert [each["acknowledged"] for each in sent.objects] == [41, 41]
    assert {each["visit"] for each in sent.objects} == {
        f"visit-{each['visit']}" for each in manifest
    }
    how = ("--exit-on-eof", "--format", "json")
    where = ("--where", "diaSource.snr > 5", "--output", f"passed-{topic}")
    filtered = run("filter", kafka, topic, *where, *how)
    assert filtered.status == 3
    total = filtered.objects[-1]
    wrong = [each for each in manifest if not each["decodable"]]
    assert (total["visit"], total["seen"]) == (None, 82)
    assert total["undecodable"] == len(wrong) == 12
    aside = raw_kafka.read(kafka, f"{topic}-undecodable")
    expected: Counter[bytes] = Counter()
    for path in tmp_path.glob("*.avro"):
        with path.open("rb") as file:
            messages = list(fastavro.reader(file))
        expected.update(messages[each["index"]] for each in wrong if each["file"] == path.name)
    assert Counter(message.value for message in aside) == expected
    reasons = Counter(dict(message.headers)["alertstream.reason"].decode() for message in aside)
    assert reasons[f"unknown schema id {UNKNOWN_ID}"] == 2
    assert reasons["trailing bytes after the alert"] == 2
    assert (reasons["no wire-format header"], reasons["empty message"]) == (2, 2)
    # Garbage is cut short, or not as its schema says, as it happens.
    assert 2 <= reasons["cut short"] <= 4
    assert reasons["cut short"] + reasons["not as its schema says"] == 4


def test_without_numpy_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ModuleNotFoundError(name='numpy')")
    made = run("simulate", tmp_path / "night", PYTHONPATH=f"{tmp_path}:{':'.join(sys.path)}")
    assert made.status == 2
    assert made.err == (
        "error: simulated visits need packages that are not installed (numpy)"
        " · pip install 'alertstream[simulate]'\n"
    )


def test_hashes_of_python_have_no_part_in_it(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        size = ("--visits", 1, "--alerts", 3, "--cutout-size", 21)
        assert run("simulate", tmp_path / seed, *size, PYTHONHASHSEED=seed).status == 0
    (one,), (other,) = ([*(tmp_path / seed).iterdir()] for seed in ("1", "2"))
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()


def test_sample_data_is_what_its_readme_says(tmp_path: Path) -> None:
    readme = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    (line,) = (line for line in readme.splitlines() if line.startswith("    alertstream simulate"))
    command = line.replace(" data ", f" {tmp_path} ").split()
    assert run(*command[1:]).status == 0
    kept = {path.name: alerts_in(path) for path in (ROOT / "data").glob("*.avro")}
    made = {path.name: alerts_in(path) for path in tmp_path.iterdir()}
    assert made.keys() == kept.keys()
    for name, alerts in made.items():
        for alert, expected in zip(alerts, kept[name], strict=True):
            assert_same(alert, expected)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 8_000_000
    passing = [sum(bright(alert["diaSource"]) for alert in alerts) for alerts in made.values()]
    assert min(passing) >= 5
    assert max(passing) > 20
