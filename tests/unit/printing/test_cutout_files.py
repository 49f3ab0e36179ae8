"""Files of cutouts: each in its folder, under a name of its own."""

from __future__ import annotations

from pathlib import Path

from alertstream.alert.alert import Alert
from alertstream.printing.writers.cutout_files import save_cutouts

NASTY = [
    *("../../x", "/etc/passwd", "a\0b", "a" * 300, "...", ".", "..", "", " ", "-", "a/b", "a\\b"),
    *(
        "a:b",
        "CON",
        "con.fits",
        "COM1",
        "C:\\x",
        "a\nb",
        "é",
        "\x1b[2J",
        "a b",
        "a_b",
        "~",
        "$(id)",
    ),
]


def test_cutout_names_are_names_and_all_different(tmp_path: Path) -> None:
    paths = set()
    for name in NASTY:
        image = name.encode()
        alert = Alert({"candidate": {"candid": 7}})
        alert["cutoutScience"] = {"fileName": name, "stampData": image}
        (path,) = save_cutouts(alert, tmp_path)
        assert path.parent == tmp_path
        assert path.read_bytes() == image
        assert len(path.name) < 250
        assert not path.name.startswith(".")
        assert path.name.isascii()
        paths.add(path)
    assert len(paths) == len(NASTY)
    assert set(tmp_path.iterdir()) == paths


def test_cutouts_of_one_name_are_all_kept(tmp_path: Path) -> None:
    alert = Alert({"candidate": {"candid": 7}})
    for name in ("Science", "Template", "Difference"):
        alert[f"cutout{name}"] = {"fileName": "same.fits.gz", "stampData": name.encode()}
    contents = [path.read_text() for path in save_cutouts(alert, tmp_path)]
    assert contents == ["Science", "Template", "Difference"]


def test_another_alert_of_the_same_source_replaces_nothing(tmp_path: Path) -> None:
    paths = []
    for image in (b"first", b"second", b"first"):
        alert = Alert({"diaSource": {"diaSourceId": 7}, "cutoutScience": image})
        paths += save_cutouts(alert, tmp_path)
    first, second, again = paths
    assert first == again != second
    assert [first.read_bytes(), second.read_bytes()] == [b"first", b"second"]
    assert {*tmp_path.iterdir()} == {first, second}


def test_source_that_is_a_path_stays_in_the_folder(tmp_path: Path) -> None:
    alert = Alert({"diaSource": {"diaSourceId": "../../x"}, "cutoutScience": b"image"})
    (path,) = save_cutouts(alert, tmp_path / "in")
    assert path.parent == tmp_path / "in"


def test_link_in_the_stamp_folder_is_replaced_not_followed(tmp_path: Path) -> None:
    folder, outside = tmp_path / "in", tmp_path / "outside"
    folder.mkdir()
    outside.write_text("theirs")
    (folder / "7-Science.fits").symlink_to(outside)
    alert = Alert({"diaSource": {"diaSourceId": 7}, "cutoutScience": b"image"})
    (path,) = save_cutouts(alert, folder)
    assert (path.read_bytes(), outside.read_text()) == (b"image", "theirs")
    assert not path.is_symlink()
