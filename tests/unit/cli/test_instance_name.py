"""Names of processes in consumer groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alertstream.cli.instance_name import instance_name


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


def locks(folder: Path) -> list[Path]:
    return list((folder / f"alertstream-{os.getuid()}").iterdir())


def test_names_are_different_at_a_time_and_the_same_again(tmp_path: Path) -> None:
    with instance_name("g") as first, instance_name("g") as second, instance_name("h") as other:
        assert len({first, second, other}) == 3
        assert first.startswith("g-")
    with instance_name("g") as again:
        assert again == first
    assert locks(tmp_path) == []


def test_lock_of_one_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    with instance_name("g") as first:
        (lock,) = locks(tmp_path)
    lock.touch()
    with instance_name("g") as again:
        assert again == first


@pytest.mark.hostile("15: lock files are in a folder of the user's own")
def test_runtime_folder_of_the_user_is_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    with instance_name("g"):
        assert len(locks(runtime)) == 1
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    with instance_name("g"):
        assert len(locks(tmp_path)) == 1


@pytest.mark.hostile("15: a folder for lock files that somebody else has made first")
@pytest.mark.parametrize("how", ["open to others", "a link", "a file"])
def test_folder_that_others_can_write_to_is_not_used(tmp_path: Path, how: str) -> None:
    folder, elsewhere = tmp_path / f"alertstream-{os.getuid()}", tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if how == "a file":
        folder.touch()
    elif how == "a link":
        folder.symlink_to(elsewhere)
    else:
        folder.mkdir()
        folder.chmod(0o777)
    with instance_name("g") as first, instance_name("g") as second:
        assert first != second
        assert list(elsewhere.iterdir()) == []
        assert how != "open to others" or locks(tmp_path) == []


def test_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with instance_name("g") as here:
        monkeypatch.setattr("tempfile.tempdir", "/proc")
        with instance_name("g") as there:
            assert there.startswith("g-")
            assert there != here


def test_error_in_what_has_the_name_is_not_swallowed() -> None:
    with pytest.raises(BrokenPipeError), instance_name("g"):
        raise BrokenPipeError(os.strerror(32))
