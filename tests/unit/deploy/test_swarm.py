"""The Swarm's stack and its mirror, read as Docker reads them."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml
from deploy.rehearsal import stack
from deploy.rehearsal.stack import MIRROR, MIRROR_JARS, mirror_settings

from alertstream.local.broker.java import kafka_version
from alertstream.local.broker.node import server_properties
from alertstream.local.broker.security import SecureListeners

PARTNER = {"PARTNER_BROKERS": "kafka.partner.example:9092"}
STACK = stack.services(stack.SWARM / "stack.yaml", {})
MIRRORING = stack.services(stack.SWARM / "mirror.yaml", PARTNER)
HUBS = ("kafka1", "kafka2", "kafka3")
FILES = ("stack.yaml", "mirror.yaml")

SECRET = re.compile(r"\$\{directory:/run/secrets:([\w-]+)\}")
ADDRESSES = {
    "controller.quorum.voters",
    "listeners",
    "advertised.listeners",
    "log.dirs",
}
OTHERWISE = {
    "num.partitions": "12",
    "offsets.topic.num.partitions": "12",
    "transaction.state.log.num.partitions": "12",
    "share.coordinator.state.topic.num.partitions": "12",
    "group.initial.rebalance.delay.ms": "3000",
    "config.providers": "directory",
    "config.providers.directory.class": "org.apache.kafka.common.config.provider."
    "DirectoryConfigProvider",
}
"""What three machines need, and one in which all have their places does not."""


def whole(file: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((stack.SWARM / file).read_text(encoding="utf-8"))
    return loaded


def constraints(service: str) -> list[str]:
    found: list[str] = STACK[service]["deploy"]["placement"]["constraints"]
    return found


def secrets_of(service: dict[str, Any]) -> set[str]:
    return {each["source"] for each in service.get("secrets", ())}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_hub_is_set_up_like_a_node_of_the_local_cluster(number: int) -> None:
    passwords = {"node-password": "n", "observatory-password": "o", "subscriber-password": "s"}
    users = {"observatory": "o", "subscriber": "s"}
    secure = SecureListeners("SASL_PLAINTEXT", ["", "", ""], users, {}, secret="n")
    local = secure.properties(number, server_properties(number, [1, 2, 3], [4, 5, 6]))
    hub = {
        key: SECRET.sub(lambda found: passwords[found[1]], value)
        for key, value in stack.kafka_properties(STACK[HUBS[number - 1]]).items()
    }
    assert {key: value for key, value in hub.items() if key not in ADDRESSES} == {
        **{key: value for key, value in local.items() if key not in ADDRESSES},
        **OTHERWISE,
    }


def test_hubs_find_each_other_by_their_services_names() -> None:
    voters = [f"{number}@{name}:9093" for number, name in enumerate(HUBS, start=1)]
    for number, name in enumerate(HUBS, start=1):
        properties = stack.kafka_properties(STACK[name])
        assert properties["node.id"] == str(number)
        assert properties["controller.quorum.voters"] == ",".join(voters)
        bound = re.findall(r"(\w+)://:(\d+)", properties["listeners"])
        advertised = re.findall(rf"(\w+)://{name}:(\d+)", properties["advertised.listeners"])
        assert [each for each in bound if each[0] != "CONTROLLER"] == advertised
        assert ("CONTROLLER", "9093") in bound


def test_each_hub_has_a_machine_and_a_volume_of_its_own() -> None:
    assert len({tuple(constraints(name)) for name in HUBS}) == len(HUBS)
    volumes = [STACK[name]["volumes"][0].split(":") for name in HUBS]
    assert {name for name, _ in volumes} == set(whole("stack.yaml")["volumes"])
    paths = {stack.kafka_properties(STACK[name])["log.dirs"] for name in HUBS}
    assert {path for _, path in volumes} == paths
    assert len({STACK[name]["environment"]["CLUSTER_ID"] for name in HUBS}) == 1


def test_a_hub_can_be_found_before_it_is_healthy() -> None:
    for name in HUBS:
        assert "healthcheck" not in STACK[name]
        assert STACK[name]["deploy"]["endpoint_mode"] == "dnsrr"


def test_everything_is_of_the_version_that_is_tested() -> None:
    jars = tomllib.loads(MIRROR_JARS.read_text())["dependencies"]
    assert {each["version"] for each in jars if each["groupId"] == "org.apache.kafka"} == {
        kafka_version()
    }
    for service in (*(STACK[name] for name in (*HUBS, "setup")), MIRRORING["mirror"]):
        assert service["image"] == f"apache/kafka:{kafka_version()}"


def test_passwords_are_files_that_only_their_reader_can_read() -> None:
    for service in (*STACK.values(), *MIRRORING.values()):
        for secret in service.get("secrets", ()):
            assert (secret["uid"], secret["mode"]) == ("1000", 0o400)
        text = str(service)
        wanted = {*SECRET.findall(text), *re.findall(r"'/run/secrets/([\w-]+)'", text)}
        assert wanted <= secrets_of(service)
        if "ALERTSTREAM_USERNAME" in service["environment"]:
            user = service["environment"]["ALERTSTREAM_USERNAME"]
            assert secrets_of(service) == {f"{user}-password"}


@pytest.mark.parametrize("file", FILES)
def test_secrets_are_made_by_hand_and_none_is_forgotten(file: str) -> None:
    known = {name for each in FILES for name in whole(each)["secrets"]}
    services = stack.services(stack.SWARM / file, PARTNER).values()
    assert {name for service in services for name in secrets_of(service)} <= known
    assert all(each == {"external": True} for each in whole(file)["secrets"].values())


@pytest.mark.parametrize("service", ["sender", "filters", "consumers", "monitor"])
def test_a_command_is_asked_whether_it_is_alive(service: str) -> None:
    port = STACK[service]["environment"]["ALERTSTREAM_METRICS_PORT"]
    assert f"http://127.0.0.1:{port}/healthz" in STACK[service]["healthcheck"]["test"][-1]


def test_nothing_is_open_to_other_machines() -> None:
    for service in (*STACK.values(), *MIRRORING.values()):
        assert "ports" not in service
    assert whole("stack.yaml")["networks"]["stream"]["driver_opts"] == {"encrypted": "true"}


def test_a_sender_that_has_failed_does_not_send_again() -> None:
    assert STACK["sender"]["deploy"]["restart_policy"] == {"condition": "none"}
    assert STACK["sender"]["deploy"]["replicas"] == 0


def test_there_are_a_hundred_consumers_for_a_hundred_filters() -> None:
    assert stack.command_line(STACK["filters"])[-1] == "1-100"
    assert STACK["consumers"]["deploy"]["replicas"] == 100


def test_mirror_is_given_all_that_its_settings_ask_for() -> None:
    text = (MIRROR / "mm2.properties").read_text(encoding="utf-8")
    mirror = MIRRORING["mirror"]
    assert set(re.findall(r"\$\{env:(\w+)\}", text)) <= set(mirror["environment"])
    assert set(SECRET.findall(text)) == secrets_of(mirror)
    [config] = mirror["configs"]
    assert mirror["command"] == [config["target"]]
    file = whole("mirror.yaml")["configs"][config["source"]]["file"]
    assert (stack.SWARM / file).resolve() == MIRROR / "mm2.properties"


def test_mirror_copies_each_committed_message_once_under_its_name() -> None:
    settings = mirror_settings()
    assert settings["partner.exactly.once.source.support"] == "enabled"
    assert settings["central.consumer.isolation.level"] == "read_committed"
    assert settings["replication.policy.class"].endswith(".IdentityReplicationPolicy")
    assert "partner->central.enabled" not in settings
