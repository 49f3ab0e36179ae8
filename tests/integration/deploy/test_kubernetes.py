"""Kubernetes' files: each resource against its schema, and all against the Swarm's."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from tests.support.commands import run
from tests.support.deploy import strimzi
from tests.support.deploy.kubernetes import (
    BASE,
    COMMANDS,
    FOLDER,
    Resource,
    container,
    named,
    resources,
)

KUSTOMIZATIONS = ("base", "mirror", "operators", "small")
OPERATORS = ("kafka.strimzi.io/v1", "keda.sh/v1alpha1", "monitoring.coreos.com/v1")

BROKER = "alertstream-kafka-bootstrap:9093"
VERSION = kubernetes_validate.latest_version()


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Resource]:
    return strimzi.schemas(tmp_path_factory.mktemp("strimzi")) | strimzi.operators()


def faults(resource: Resource, schemas: dict[str, Resource]) -> Iterator[str]:
    """What a cluster would not take, or not know."""
    if resource["apiVersion"] in OPERATORS:
        validator = Draft202012Validator(schemas[resource["kind"]])
        yield from (f"{each.json_path}: {each.message}" for each in validator.iter_errors(resource))
        return
    try:
        kubernetes_validate.validate(resource, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield str(error)


def test_every_resource_is_one_that_its_schema_allows(schemas: dict[str, Resource]) -> None:
    assert len(BASE) > 10
    for resource in (*BASE, *resources("mirror"), *resources("operators")):
        assert not list(faults(resource, schemas)), resource["metadata"]["name"]


def test_a_field_misspelt_is_found(schemas: dict[str, Resource]) -> None:
    for kind, name in (("Kafka", "alertstream"), ("StatefulSet", "consumers")):
        misspelt = deepcopy(named(kind, name))
        misspelt["spec"]["replica"] = 3
        assert list(faults(misspelt, schemas))
    for resource in resources("operators"):
        resource["spec"]["trigers"] = []
        assert list(faults(resource, schemas)), resource["kind"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_kustomize_makes_resources_that_are_allowed(
    folder: str, schemas: dict[str, Resource]
) -> None:
    command = ["kubectl", "kustomize", str(FOLDER / folder)]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    for resource in yaml.safe_load_all(made.stdout):
        assert not list(faults(resource, schemas)), resource["metadata"]["name"]
        assert resource["metadata"]["namespace"] == "alertstream"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_one_that_alertstream_takes(name: str, tmp_path: Path, visits: Path) -> None:
    parts = container(name)["args"]
    if name == "consumers":
        [script] = parts
        line = script.split("exec alertstream ")[1].replace("\\\n", " ").replace('"', "")
        parts = line.replace("$topic", "Filter007").split()
    places = {BROKER: "127.0.0.1:1", "/visits": str(visits), "9100": "0"}
    here = [places.get(each, each).replace("/saved", str(tmp_path)) for each in parts]
    # Port 1 refuses: a command line that is wrong never comes as far as to notice.
    tried = run(*here)
    assert (tried.status, tried.out) == (1, "")
    assert "Kafka cannot be reached" in tried.err
