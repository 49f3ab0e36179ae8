"""The Kubernetes resources, as written in the files."""

from __future__ import annotations

from typing import Any

import yaml
from deploy.rehearsal.stack import DEPLOY

FOLDER = DEPLOY / "kubernetes"


Resource = dict[str, Any]


def resources(folder: str) -> list[Resource]:
    """The resources that a kustomization lists itself, before its patches."""
    kustomization = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text("utf-8"))
    files = [FOLDER / folder / name for name in kustomization["resources"] if name[0] != "."]
    return [each for file in files for each in yaml.safe_load_all(file.read_text("utf-8"))]


BASE = resources("base")


def named(kind: str, name: str) -> Resource:
    """The resource of this kind and name."""
    [found] = [each for each in BASE if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pod(name: str) -> Resource:
    """The pod template of a workload."""
    [found] = [
        each
        for each in BASE
        if each["metadata"]["name"] == name and "template" in each.get("spec", {})
    ]
    spec: Resource = found["spec"]["template"]["spec"]
    return spec


def container(name: str) -> Resource:
    """The only container in a workload's pods."""
    [found] = pod(name)["containers"]
    return dict(found)


COMMANDS = ("sender", "filters", "consumers", "monitor")
