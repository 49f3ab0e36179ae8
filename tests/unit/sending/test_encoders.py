"""How files become messages: which id, who knows it, and what is kept for readers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.samples import (
    official_schema,
    sample_alert,
    sample_file,
    write_container,
)

from alertstream.avro.schemas import FIRST_DERIVED, Schemas, canonical_fingerprint, derived_id
from alertstream.avro.wire import pack
from alertstream.errors import SchemaError
from alertstream.reading.recording import RecordedMessage
from alertstream.sending.visits.encoders import message_encoders
from alertstream.sending.visits.recordings import keyed_files
from alertstream.sending.visits.schedule import Recorded, VisitFiles

OWN = {
    "type": "record",
    "name": "topLevelRecord",
    "namespace": "value",
    "fields": [{"name": "n", "type": "long"}],
}
OTHER = OWN | {"fields": [{"name": "n", "type": "int"}, {"name": "m", "type": "int"}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_container(tmp_path / "own.avro", OWN, [{"n": 1}])


def encoded(path: Path, *folders: Path, notices: list[str] | None = None, **how: Any) -> bytes:
    told = [] if notices is None else notices
    work = message_encoders([path], Schemas(folders), notice=told.append, **how)
    return b"".join(asyncio.run(work)[path](b"\2"))


def test_an_id_that_follows_from_the_schema_which_is_kept(path: Path, tmp_path: Path) -> None:
    folder, told = tmp_path / "known", list[str]()
    number = derived_id(OWN)
    assert FIRST_DERIVED <= number < 2 * FIRST_DERIVED
    assert derived_id(OWN | {"doc": "the same bytes"}) == number != derived_id(OTHER)
    assert encoded(path, folder, notices=told) == pack(number, b"\2")
    assert [each.name for each in folder.iterdir()] == [f"{number}.avsc"]
    assert told == [
        f"value.topLevelRecord is kept as schema id {number} in {folder}: "
        "its readers need that folder, with --schemas"
    ]
    assert encoded(path, folder, notices=told) == pack(number, b"\2")
    assert len(told) == 1


def test_an_id_under_which_the_schema_is_known(path: Path, tmp_path: Path) -> None:
    (tmp_path / "4242.avsc").write_text(json.dumps(OWN))
    assert encoded(path, tmp_path) == pack(4242, b"\2")


def test_what_nobody_could_decode_is_refused(path: Path, tmp_path: Path) -> None:
    hint = rf"{path} · register it: --registry URL, or keep it for its readers: --schemas DIR"
    with pytest.raises(SchemaError, match=f"no schema id follows from the name .* · {hint}"):
        encoded(path)
    with pytest.raises(SchemaError, match=f"nobody would know what schema id 77 means · {hint}"):
        encoded(path, schema_id=77)
    for number, folders in ((1000, ()), (1000, (tmp_path,))):
        with pytest.raises(SchemaError, match="id 1000 is that of another schema"):
            encoded(path, *folders, schema_id=number)
    assert not (tmp_path / "1000.avsc").exists()
    changed = official_schema("10.0")
    changed = changed | {"fields": [*changed["fields"], {"name": "more", "type": ["null", "int"]}]}
    other = write_container(tmp_path / "o.avro", changed, [sample_alert("10.0") | {"more": 1}])
    with pytest.raises(SchemaError, match=r"differs from the one known as id 1000 · .*o.avro"):
        encoded(other)


def test_an_id_that_is_given(path: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert encoded(path, tmp_path / "known", schema_id=77) == pack(77, b"\2")
    assert encoded(sample_file("10.0"), schema_id=1000) == pack(1000, b"\2")
    known = Schemas([tmp_path / "known"]).by_id(77)
    assert canonical_fingerprint(known) == canonical_fingerprint(OWN)


def test_a_recording_of_fink_is_replayed_as_it_came(path: Path) -> None:
    key = json.dumps(OWN).encode()
    kept = [Recorded(0, RecordedMessage(0, 0, each, ())) for each in (None, key)]
    files = keyed_files([VisitFiles(path, (path,), (kept[1],))])
    assert files == {path}
    assert not keyed_files([VisitFiles(path, (path,), (kept[0],)), VisitFiles(path, (path,))])
    assert encoded(path, keyed=files) == b"\2"
