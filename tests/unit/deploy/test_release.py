"""A release and an image: versions that are fixed, and a changelog in its form."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
NOT_FOR_USERS = {"bench", "clients", "docs", "test"}


def needed(lines: list[str]) -> Iterator[Requirement]:
    """What lines of pyproject.toml ask for, other extras of ours resolved."""
    for each in map(Requirement, lines):
        if each.name == PROJECT["name"]:
            for extra in each.extras:
                yield from needed(EXTRAS[extra])
        else:
            yield each


@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_the_image_has_versions_that_are_fixed_and_allowed(python: str) -> None:
    text = (ROOT / "deploy" / "constraints.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    here = {**default_environment(), "python_version": python, "python_full_version": f"{python}.1"}
    fixed: dict[str, str] = {}
    for each in map(Requirement, lines):
        [one] = each.specifier
        assert one.operator == "=="
        if each.marker is None or each.marker.evaluate(here):
            assert fixed.setdefault(each.name.lower(), one.version) == one.version
    wanted = [*PROJECT["dependencies"]]
    for extra in EXTRAS.keys() - NOT_FOR_USERS:
        wanted += EXTRAS[extra]
    for each in needed(wanted):
        version = fixed.get(each.name.lower())
        assert version is not None, f"{each}: renew deploy/constraints.txt as it says itself"
        assert each.specifier.contains(version), each


def test_the_image_is_built_with_them() -> None:
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    [copied] = [each.split() for each in lines if "deploy/constraints.txt" in each]
    [place] = [each.partition("=")[2] for each in lines if each.startswith("ENV PIP_CONSTRAINT=")]
    assert (copied[0], place) == ("COPY", f"/src/{Path(copied[-2]).name}")


def test_the_changelog_has_the_kept_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## (.*)$", text, re.M)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", each) for each in versions[1:])
    kinds = re.findall(r"^### (.*)$", text, re.M)
    assert {*kinds} <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_version_is_gits() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in PROJECT
