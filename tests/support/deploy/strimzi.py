"""The schemas of what operators bring: Strimzi's own generator makes its, others' are kept."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from alertstream.local.broker.java import fetch_jars, find_java, java_command

OPERATORS = Path(__file__).with_name("operators.json")
LOCK = Path(__file__).with_name("strimzi.lock.toml")
GENERATOR = "io.strimzi.crdgenerator.CrdGenerator"
CLASSES = {
    "Kafka": "kafka.Kafka",
    "KafkaNodePool": "nodepool.KafkaNodePool",
    "KafkaTopic": "topic.KafkaTopic",
    "KafkaUser": "user.KafkaUser",
    "KafkaMirrorMaker2": "mirrormaker2.KafkaMirrorMaker2",
}
OPTIONS = "--yaml --describe-api-versions v1 --api-versions v1 --storage-version v1"
KUBERNETES = "--target-kube 1.30+ --crd-api-version v1"


def schemas(folder: Path) -> dict[str, dict[str, Any]]:
    """The schema of each kind, version v1, which allows no other fields.

    The first time, 44 MB are fetched.
    """
    jars = fetch_jars(LOCK, notice=print)
    wanted = [
        f"io.strimzi.api.kafka.model.{name}={folder / kind}.yaml" for kind, name in CLASSES.items()
    ]
    command = [*java_command(find_java(None), jars), GENERATOR, *OPTIONS.split()]
    subprocess.run([*command, *KUBERNETES.split(), *wanted], check=True, capture_output=True)
    return {kind: _schema(folder / f"{kind}.yaml") for kind in CLASSES}


def operators() -> dict[str, dict[str, Any]]:
    """The schema of each kind of KEDA and prometheus-operator that is used, as Strimzi's."""
    kept = json.loads(OPERATORS.read_text(encoding="utf-8"))
    return {kind: _named(schema) for kind, schema in kept.items() if kind}


def _schema(definition: Path) -> dict[str, Any]:
    (version,) = yaml.safe_load(definition.read_text(encoding="utf-8"))["spec"]["versions"]
    assert version["name"] == "v1"
    return _named(version["schema"]["openAPIV3Schema"])


def _named(schema: dict[str, Any]) -> dict[str, Any]:
    for name in ("apiVersion", "kind", "metadata"):
        schema["properties"][name] = {}
    _close(schema)
    return schema


def _close(schema: dict[str, Any]) -> None:
    """Allow only named fields in objects: the server prunes others."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    named = schema.get("properties", {})
    if named:
        schema.setdefault("additionalProperties", False)
    inner = (*named.values(), schema.get("items"), schema.get("additionalProperties"))
    for each in inner:
        if isinstance(each, dict):
            _close(each)
