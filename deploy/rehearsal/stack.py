"""A Swarm stack file, read as Docker reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[1]
SWARM = DEPLOY / "swarm"
MIRROR = DEPLOY / "mirror"
MIRROR_JARS = MIRROR / "connect-mirror.lock.toml"
NO_PROPERTY = ("KAFKA_HEAP_OPTS",)
"""Variables that look like Kafka's properties, but are for its start script."""

Service = dict[str, Any]


def services(file: Path, variables: Mapping[str, str] = os.environ) -> dict[str, Service]:
    """Return a stack's services, with ``${NAME:-default}`` and ``$$`` replaced.

    :raises KeyError: the stack asks for a variable that is not there.
    """
    stack = yaml.safe_load(file.read_text(encoding="utf-8"))
    filled: dict[str, Service] = _filled(stack["services"], variables)
    return filled


def _filled(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, variables) for value in node]
    return filled(node, variables) if isinstance(node, str) else node


def filled(text: str, variables: Mapping[str, str]) -> str:
    """Return a text with its variables replaced.

    :raises KeyError: one is asked for (``${NAME:?why}``) that is not there.
    """

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        if found["kind"] == ":?":
            return variables[found["name"]]
        return variables.get(found["name"]) or found["default"]

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?P<kind>:[-?])(?P<default>[^}]*)\}", value, text)


def kafka_properties(service: Service) -> dict[str, str]:
    """Return Kafka's properties, as its image derives them from a service's environment."""
    return {
        _property(name): value
        for name, value in service["environment"].items()
        if name.startswith("KAFKA_") and name not in NO_PROPERTY
    }


def _property(variable: str) -> str:
    name = variable.removeprefix("KAFKA_").lower()
    return name.replace("_", ".").replace("...", "-").replace("..", "_")


def command_line(service: Service) -> list[str]:
    """Return a service's command line."""
    return [*service["entrypoint"], *service["command"]]


def mirror_settings() -> dict[str, str]:
    """Return the settings of the mirror between two clusters."""
    text = (MIRROR / "mm2.properties").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
