"""Names of processes in consumer groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alertstream.cli.instance_name import instance_name


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_names_are_different_at_a_time_and_the_same_again(tmp_path: Path) -> None:
    with instance_name("g") as first, instance_name("g") as second, instance_name("h") as other:
        assert len({first, second, other}) == 3
        assert first.startswith("g-")
    with instance_name("g") as again:
        assert again == first
    assert list(tmp_path.iterdir()) == []


def test_lock_of_one_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    with instance_name("g") as first:
        (lock,) = tmp_path.iterdir()
    lock.touch()
    with instance_name("g") as again:
        assert again == first


def test_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with instance_name("g") as here:
        monkeypatch.setattr("tempfile.tempdir", "/proc")
        with instance_name("g") as there:
            assert there.startswith("g-")
            assert there != here


def test_error_in_what_has_the_name_is_not_swallowed() -> None:
    with pytest.raises(BrokenPipeError), instance_name("g"):
        raise BrokenPipeError(os.strerror(32))
