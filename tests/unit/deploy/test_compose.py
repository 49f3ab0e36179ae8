"""The image and the composed services, read as Docker reads them."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import registry_service

from alertstream.local.broker.java import JAR_LOCK
from alertstream.local.broker.node import server_properties

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
COMMANDS = ["send", "filter", "print", "monitor"]
BROKER = "kafka:9092"
DEVELOPERS = {"bench", "clients", "docs", "test"}
ADDRESSES = {
    "controller.quorum.voters",
    "listeners",
    "advertised.listeners",
    "listener.security.protocol.map",
    "inter.broker.listener.name",
    "log.dirs",
}
"""Kafka's settings that cannot be the same in a container as on this machine."""


def default(text: str) -> str:
    """What compose makes of ``${NAME:-default}`` when nothing is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def kafka_settings() -> dict[str, str]:
    """Kafka's properties, as the image makes them of its environment."""
    environment = SERVICES["kafka"]["environment"]
    return {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in environment.items()
        if name.startswith("KAFKA_")
    }


def listeners(setting: str) -> dict[str, tuple[str, int]]:
    """Each listener's host and port."""
    found = re.findall(r"(\w+)://([^:,]*):(\d+)", kafka_settings()[setting])
    return {name: (host, int(port)) for name, host, port in found}


def ports() -> list[str]:
    return [port for service in SERVICES.values() for port in service.get("ports", [])]


def mount(service: str) -> dict[str, Any]:
    [volume] = SERVICES[service]["volumes"]
    return volume


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def last(instruction: str) -> str:
    """The value that counts in the image: the last one of its last stage."""
    stage = instructions()
    starts = [place for place, (name, _) in enumerate(stage) if name == "FROM"]
    return [value for name, value in stage[starts[-1] :] if name == instruction][-1]


def copied() -> set[str]:
    sources = [value.split()[:-1] for name, value in instructions() if name == "COPY"]
    return {source for each in sources if not each[0].startswith("--from") for source in each}


def test_image_runs_as_an_ordinary_user_without_a_shell_around_the_program() -> None:
    assert int(last("USER").split(":")[0]) > 0
    assert json.loads(last("ENTRYPOINT")) == ["alertstream"]


def test_image_is_built_from_all_that_the_package_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        "deploy/constraints.txt",
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
        *(Path(package).parts[0] for package in wheel["packages"]),
        *wheel["force-include"],
    }
    assert copied() == needed
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == needed
    assert all((ROOT / name).exists() for name in needed)


def test_image_has_all_extras_that_users_need_but_no_java_and_a_python_that_will_do() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    arguments = dict(value.split("=") for name, value in instructions() if name == "ARG")
    all_extras = project["optional-dependencies"].keys()
    # [fits] comes with [images], and [broker] has the Java.
    assert {*arguments["EXTRAS"].split(",")} == all_extras - DEVELOPERS - {"broker", "fits"}
    bases = {value.split()[0] for name, value in instructions() if name == "FROM"}
    [version] = {re.fullmatch(r"python:(\d+)\.(\d+)-slim", base).groups() for base in bases}
    oldest = project["requires-python"].removeprefix(">=").split(".")
    assert [int(part) for part in version] >= [int(part) for part in oldest]


def test_kafka_is_set_up_like_the_local_one() -> None:
    local = server_properties(1, [9092], [9093])
    shared = {key: value for key, value in local.items() if key not in ADDRESSES}
    in_compose = {key: value for key, value in kafka_settings().items() if key not in ADDRESSES}
    assert in_compose == shared
    assert all(isinstance(value, str) for value in in_compose.values()), "YAML must not retype them"


def test_kafka_is_the_version_that_the_local_one_is() -> None:
    lock = tomllib.loads(JAR_LOCK.read_text(encoding="utf-8"))["dependencies"]
    [version] = [each["version"] for each in lock if each["artifactId"] == "kafka_2.13"]
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version}"


def test_every_listener_is_advertised_where_its_clients_can_reach_it() -> None:
    bound, advertised = listeners("listeners"), listeners("advertised.listeners")
    controller = kafka_settings()["controller.listener.names"]
    assert {name: port for name, (_, port) in bound.items() if name != controller} == {
        name: port for name, (_, port) in advertised.items()
    }
    protocols = kafka_settings()["listener.security.protocol.map"]
    assert set(bound) == set(re.findall(r"(\w+):PLAINTEXT", protocols))
    inside = kafka_settings()["inter.broker.listener.name"]
    assert "{}:{}".format(*advertised.pop(inside)) == BROKER
    [(host, port)] = advertised.values()
    assert f"{host}:{port}:{port}" in ports()
    number, voter = kafka_settings()["controller.quorum.voters"].split("@")
    assert number == kafka_settings()["node.id"]
    assert voter == "{}:{}".format(*bound[controller])


def test_nothing_is_open_to_other_machines() -> None:
    assert ports()
    assert all(isinstance(port, str) and port.startswith("127.0.0.1:") for port in ports())
    assert not any("network_mode" in service for service in SERVICES.values())


def test_topics_outlive_the_container() -> None:
    [volume] = SERVICES["kafka"]["volumes"]
    name, path = volume.split(":")
    assert name in COMPOSE["volumes"]
    assert kafka_settings()["log.dirs"] == path
    assert SERVICES["kafka"]["environment"]["CLUSTER_ID"]


def test_kafka_is_asked_whether_it_is_healthy() -> None:
    check = SERVICES["kafka"]["healthcheck"]["test"]
    assert check[:2] == ["CMD", "/opt/kafka/bin/kafka-broker-api-versions.sh"]
    assert check[-2:] == ["--bootstrap-server", "localhost:9092"]
    assert listeners("listeners")[kafka_settings()["inter.broker.listener.name"]] == ("", 9092)


def test_registry_is_the_version_that_is_tested() -> None:
    assert SERVICES["registry"]["image"] == f"apicurio/apicurio-registry:{registry_service.VERSION}"


def test_up_without_names_starts_kafka_alone() -> None:
    assert set(SERVICES) == {"kafka", "registry", *COMMANDS}
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["kafka"]


@pytest.mark.parametrize("service", COMMANDS)
def test_a_command_waits_for_a_healthy_kafka_and_is_not_root(service: str) -> None:
    assert SERVICES[service]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert default(SERVICES[service]["user"]) == last("USER")
    assert SERVICES[service]["build"] == "."


@pytest.mark.parametrize("service", COMMANDS)
def test_a_command_is_asked_whether_it_is_ready_and_can_write_nowhere(service: str) -> None:
    port = SERVICES[service]["environment"]["ALERTSTREAM_METRICS_PORT"]
    assert f"http://127.0.0.1:{port}/readyz" in SERVICES[service]["healthcheck"]["test"][-1]
    assert SERVICES[service]["read_only"] is True
    assert SERVICES[service]["cap_drop"] == ["ALL"]


def test_every_line_of_the_page_is_typed_in_the_rehearsal() -> None:
    page = (ROOT / "docs/containers.md").read_text(encoding="utf-8").replace("\\\n    ", "")
    script = (ROOT / "deploy/rehearsal/compose.py").read_text(encoding="utf-8")
    typed = re.sub(r"""['"]\n\s+['"]""", "", script)
    lines = re.findall(r"^(?:\S+=\S+ )?(docker compose [^#\n]*)", page, re.MULTILINE)
    assert len(lines) > 10
    missing = [line for line in map(str.strip, lines) if line not in typed]
    assert missing == ["docker compose build send", "docker compose logs -f filter monitor"]


def test_folders_of_the_user_are_there_before_and_data_is_only_read() -> None:
    for service in ("send", "print"):
        assert mount(service)["type"] == "bind"
        assert mount(service)["bind"] == {"create_host_path": False}
    assert mount("send")["read_only"] is True
    assert not mount("print").get("read_only")
    assert (ROOT / default(mount("send")["source"])).is_dir()
