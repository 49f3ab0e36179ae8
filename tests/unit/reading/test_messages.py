"""Messages of any kind: decoded with their own schema, or refused with the cause."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import fastavro
import pytest
from tests.support import samples
from tests.support.samples import (
    WANTED,
    body_of,
    official_schema,
    sample_alert,
    schema_id,
)

from alertstream.avro.container.file import ContainerFile
from alertstream.avro.schemas import Schemas, package_folder
from alertstream.avro.wire import pack
from alertstream.errors import UndecodableError
from alertstream.reading.decoder import AlertDecoder
from alertstream.reading.envelope import opened
from alertstream.sending.visits.encoders import container_encoder


@pytest.mark.parametrize("version", samples.VERSIONS)
def test_official_sample_decodes_as_fastavro_decodes_it(version: str) -> None:
    with ContainerFile(samples.sample_file(version)) as container:
        (body,) = container
    message = pack(schema_id(version), body)
    assert AlertDecoder(Schemas()).fields_of(message) == sample_alert(version)


def test_unknown_id_and_other_garbage() -> None:
    decoder = AlertDecoder(Schemas(), WANTED)
    for message, cause in (
        (None, "no content"),
        (b"\x9egarbage", "no wire-format header"),
        (pack(4242, b"x"), "unknown schema id 4242"),
        (pack(1000, b""), "cut short"),
        (b"Obj\x01garbage", "damaged container file"),
    ):
        with pytest.raises(UndecodableError, match=cause):
            decoder.fields_of(message)


def test_container_file_in_a_message() -> None:
    alert = sample_alert("10.0")
    message = b"".join(container_encoder(official_schema("10.0"))(body_of(alert, "10.0")))
    assert next(iter(fastavro.reader(BytesIO(message)))) == alert
    assert opened(message)[1] == body_of(alert, "10.0")
    assert AlertDecoder(Schemas()).fields_of(message) == alert
    assert AlertDecoder(Schemas(), WANTED).fields_of(message)["diaSource"]["visit"] == 1
    for damaged in (message[:-20], message[:40], message + message[-200:]):
        with pytest.raises(UndecodableError, match="container file"):
            AlertDecoder(Schemas()).fields_of(damaged)


def test_schemas_of_users_come_first(tmp_path: Path) -> None:
    own = {"type": "record", "name": "mine", "fields": [{"name": "n", "type": "long"}]}
    (tmp_path / "1000.avsc").write_text(json.dumps(own))
    assert AlertDecoder(Schemas([tmp_path])).fields_of(pack(1000, b"\x02")) == {"n": 1}
    assert package_folder("schemas").is_dir()
