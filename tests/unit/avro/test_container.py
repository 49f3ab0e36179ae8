"""Container files: each record as it is, up to the damage."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.samples import (
    FITS,
    body_of,
    official_schema,
    with_images,
    write_container,
)

from alertstream.avro.container.file import ContainerFile
from alertstream.avro.wire import pack
from alertstream.errors import DataError


@pytest.mark.parametrize("codec", ["null", "deflate", "zstandard", "snappy"])
def test_blocks_of_several_records_in_any_codec(codec: str, tmp_path: Path) -> None:
    alerts = [with_images("7.4", cutoutScience=FITS * (1 + n % 3)) for n in range(10)]
    schema = official_schema("7.4")
    path = write_container(
        tmp_path / "many.avro", schema, alerts, codec=codec, sync_interval=50_000
    )
    with ContainerFile(path) as container:
        bodies = list(container)
    assert bodies == [body_of(alert, "7.4") for alert in alerts]


def test_damaged_file_gives_what_comes_before_the_damage(tmp_path: Path) -> None:
    alerts = [with_images("10.0")] * 5
    path = write_container(tmp_path / "a.avro", official_schema("10.0"), alerts, sync_interval=1)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 7 // 10])
    with ContainerFile(path) as container, pytest.raises(DataError, match="after record 2 "):
        for body in container:
            assert body == body_of(alerts[0], "10.0")


@pytest.mark.parametrize("content", [b"", b"Obj\x01", b"Obj\x02rest", b"no Avro at all" * 9])
def test_file_that_is_no_container(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.avro"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not an Avro container file"):
        ContainerFile(path)


@pytest.mark.parametrize("schema", ["bytes", {"type": "bytes"}])
@pytest.mark.parametrize("sync_interval", [1, 100_000])
def test_file_of_whole_messages(schema: Any, sync_interval: int, tmp_path: Path) -> None:
    messages = [pack(1000, b"body"), b"", b"garbage", b"\0" * 5000]
    path = write_container(tmp_path / "m.avro", schema, messages, sync_interval=sync_interval)
    with ContainerFile(path) as container:
        assert container.holds_messages
        assert list(container) == messages
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with ContainerFile(path) as container, pytest.raises(DataError, match="damaged after record"):
        list(container)


@pytest.mark.parametrize("schema", ["string", "null", ["bytes"], {"type": "array", "items": "int"}])
def test_file_of_anything_else(schema: Any, tmp_path: Path) -> None:
    path = write_container(tmp_path / "m.avro", schema, [])
    with pytest.raises(DataError, match="the file's schema cannot be used"):
        ContainerFile(path)


def test_a_file_compressed_with_gzip(tmp_path: Path) -> None:
    alerts = [with_images("10.0", cutoutScience=FITS)] * 3
    plain = write_container(tmp_path / "a.avro", official_schema("10.0"), alerts, sync_interval=1)
    packed = tmp_path / "a.avro.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    with ContainerFile(packed) as container:
        assert list(container) == [body_of(alerts[0], "10.0")] * 3
        assert container.share_read == 1
    packed.write_bytes(packed.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"the gzip file is damaged · .*a.avro.gz · fetch"):
        ContainerFile(packed)


@pytest.mark.parametrize("pack_file", [bytes, gzip.compress])
def test_a_file_that_is_one_message(pack_file: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "m.avro"
    path.write_bytes(pack_file(pack(900, b"body")))
    with ContainerFile(path) as container:
        assert container.holds_messages
        assert list(container) == [pack(900, b"body")]


@pytest.mark.parametrize(
    "content, kind",
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a Git LFS pointer"),
        (gzip.compress(b'{"alerts": []}', mtime=0), "JSON"),
        (b'[{"ra": 1}]', "JSON"),
        (b"404: Not Found", "plain text"),
        (b"<!DOCTYPE html>", "XML"),
    ],
)
def test_what_a_file_is_that_holds_no_alerts(content: bytes, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.avro"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"not an Avro container file: it is {kind} · .*x.avro"):
        ContainerFile(path)


def test_a_codec_that_is_not_supported(tmp_path: Path) -> None:
    path = write_container(tmp_path / "m.avro", "bytes", [b"x"], codec="deflate")
    path.write_bytes(path.read_bytes().replace(b"deflate", b"inflate"))
    with pytest.raises(DataError, match=r"codec inflate is not supported · .* · write it w"):
        ContainerFile(path)
