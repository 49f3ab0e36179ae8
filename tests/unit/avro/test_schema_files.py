"""The schemas in ``schemas/`` mean what the official ones mean, in our own words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form
from tests.support import make_schemas

OFFICIAL = {schema["name"]: schema for schema in make_schemas.official()}


def ours(name: str) -> dict[str, Any]:
    return json.loads((make_schemas.FOLDER / f"{name}.avsc").read_text(encoding="utf-8"))


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every type and every field of a schema, in order."""
    if isinstance(node, list):
        for branch in node:
            yield from nodes(branch)
    elif isinstance(node, dict):
        yield node
        for key in ("type", "items", "fields"):
            yield from nodes(node.get(key))


def docs(schema: dict[str, Any]) -> set[str]:
    return {node["doc"].strip().lower() for node in nodes(schema) if node.get("doc")}


@pytest.mark.parametrize("name", OFFICIAL)
def test_reads_the_same_bytes(name: str) -> None:
    prints = [
        fingerprint(to_parsing_canonical_form(schema), "SHA-256")
        for schema in (ours(name), OFFICIAL[name])
    ]
    assert prints[0] == prints[1]


@pytest.mark.parametrize("name", OFFICIAL)
@pytest.mark.parametrize("key", ["default", "aliases", "logicalType"])
def test_resolves_the_same_way(name: str, key: str) -> None:
    def kept(schema: dict[str, Any]) -> list[Any]:
        return [
            (node.get("name", "").rpartition(".")[2], key in node, node.get(key))
            for node in nodes(schema)
        ]

    assert kept(ours(name)) == kept(OFFICIAL[name])


@pytest.mark.parametrize("name", OFFICIAL)
def test_carries_none_of_the_official_words(name: str) -> None:
    official = set().union(*map(docs, OFFICIAL.values()))
    assert docs(ours(name))
    assert not docs(ours(name)) & official


def test_comes_out_of_the_script(tmp_path) -> None:
    made = {path.name: path.read_bytes() for path in make_schemas.write(tmp_path)}
    assert made == {path.name: path.read_bytes() for path in make_schemas.FOLDER.iterdir()}


def test_is_small_enough_for_a_wheel() -> None:
    assert sum(path.stat().st_size for path in make_schemas.FOLDER.iterdir()) < 600_000
