"""The image, `compose.yaml` and the Swarm's stack run in containers: by the scripts of `deploy`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploy.rehearsal.podman import ROOT, missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"needs {', '.join(missing())}"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for images, which are made once."""
    folder = tmp_path_factory.mktemp("images")
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


def rehearsal(which: str, store: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"deploy.rehearsal.{which}", "--store", str(store)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return ran


def test_compose_does_in_containers_what_its_page_says(store: Path) -> None:
    assert "all as docs/containers.md says" in rehearsal("compose", store).stderr


def test_every_count_is_right_with_hosts_cut_off_and_the_mirror_killed(store: Path) -> None:
    ran = rehearsal("swarm", store)
    assert "host is cut off" in ran.stderr
    assert "WRONG" not in ran.stdout
