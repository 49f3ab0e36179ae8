"""What tests of local clusters need."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.credentials import Files


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the commands of a test make their temporary folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("files"))
