"""Kubernetes' files against the Swarm's and the local cluster's."""

from __future__ import annotations

import re

import pytest
import yaml
from deploy.rehearsal import stack
from deploy.rehearsal.stack import DEPLOY, mirror_settings
from tests.support.deploy.kubernetes import (
    COMMANDS,
    container,
    named,
    pod,
    resources,
)

from alertstream.filtering.filters import group_name
from alertstream.local.broker.node import server_properties
from alertstream.local.broker.security import NODE
from alertstream.local.rights import Use

STACK = stack.services(stack.SWARM / "stack.yaml", {})


BROKER = "alertstream-kafka-bootstrap:9093"
SETTINGS_OF_OURS = re.compile(
    r"listener|controller\.|process\.roles|node\.id|log\.dirs|group\.init"
)


def test_kafka_is_set_up_like_the_local_cluster_and_the_swarms() -> None:
    config = named("Kafka", "alertstream")["spec"]["kafka"]["config"]
    written = {key: str(value).lower() for key, value in config.items()}
    local = server_properties(1, [1, 2, 3], [4, 5, 6])
    wanted = {key: each for key, each in local.items() if not SETTINGS_OF_OURS.search(key)}
    swarm = STACK["kafka1"]["environment"]
    for key in wanted:
        if key.endswith("num.partitions"):
            wanted[key] = swarm["KAFKA_" + key.upper().replace(".", "_")]
    assert written == wanted


def test_stream_is_as_the_swarms() -> None:
    spec = named("KafkaTopic", "alerts")["spec"]
    setup = STACK["setup"]
    assert str(spec["partitions"]) == setup["environment"]["PARTITIONS"]
    assert f"--replication-factor {spec['replicas']}" in setup["command"][0]
    assert str(spec["config"]["retention.ms"]) == setup["environment"]["RETENTION_MS"]
    assert str(spec["config"]["retention.bytes"]) == setup["environment"]["RETENTION_BYTES"]
    assert f"max.message.bytes={spec['config']['max.message.bytes']}" in setup["command"][0]


def test_users_have_the_rights_that_they_have_in_the_swarm() -> None:
    supers = named("Kafka", "alertstream")["spec"]["kafka"]["authorization"]["superUsers"]
    in_swarm = STACK["kafka1"]["environment"]["KAFKA_SUPER_USERS"]
    assert in_swarm == ";".join(f"User:{name}" for name in (NODE, *supers))
    rights = named("KafkaUser", "subscriber")["spec"]["authorization"]["acls"]
    prefixes = {each["resource"]["type"]: each["resource"]["name"] for each in rights}
    assert prefixes == {"topic": "Filter", "group": "subscriber-"}
    for kind, prefix in prefixes.items():
        assert f"--{kind} {prefix}" in STACK["setup"]["command"][0]


def test_filters_may_do_what_doctor_lists_and_no_more() -> None:
    use = Use("alerts", group_name("alerts"), ["Filter*"], BROKER)
    listed = {
        (
            each.resource.replace("TRANSACTIONAL_ID", "transactionalId").lower(),
            each.name,
            each.pattern.startswith("PREFIX"),
            operation.upper(),
        )
        for each in use.rights()
        if each.command == "filter"
        for operation in each.operations
    }
    given = named("KafkaUser", "filters")["spec"]["authorization"]["acls"]
    allowed = {
        (resource["type"].lower(), resource["name"], "patternType" in resource, operation.upper())
        for each in given
        for resource in [each["resource"]]
        for operation in each["operations"]
    }
    assert allowed == listed


def test_filters_are_as_many_as_alerts_wait_for_and_no_more_than_partitions() -> None:
    scaled, login, *_ = resources("operators")
    spec = scaled["spec"]
    assert spec["scaleTargetRef"]["name"] == named("Deployment", "filters")["metadata"]["name"]
    assert spec["maxReplicaCount"] == named("KafkaTopic", "alerts")["spec"]["partitions"]
    [trigger] = spec["triggers"]
    asked = trigger["metadata"]
    assert (asked["topic"], asked["consumerGroup"]) == ("alerts", group_name("alerts"))
    assert asked["bootstrapServers"] == BROKER.replace(":", ".alertstream.svc:")
    assert trigger["authenticationRef"]["name"] == login["metadata"]["name"]
    [user] = login["spec"]["env"]
    assert user["containerName"] == container("filters")["name"]
    assert user["name"] in {each["name"] for each in container("filters")["env"]}
    secrets = {each["parameter"]: each["name"] for each in login["spec"]["secretTargetRef"]}
    mounted = {each["name"]: each for each in pod("filters")["volumes"]}["kafka-ca"]
    assert secrets == {"password": "filters", "ca": mounted["secret"]["secretName"]}


def test_what_selects_pods_finds_them() -> None:
    apps = {"filters", "consumers", "monitor", "sender"}
    metrics, network = resources("operators")[2], named("NetworkPolicy", "alertstream")
    for selector in (metrics["spec"]["selector"], network["spec"]["podSelector"]):
        [wanted] = selector["matchExpressions"]
        assert (wanted["key"], wanted["operator"], {*wanted["values"]}) == ("app", "In", apps)
    assert metrics["spec"]["jobLabel"] == wanted["key"], "what the rules tell apart"
    [endpoint] = metrics["spec"]["podMetricsEndpoints"]
    [allowed] = network["spec"]["ingress"]
    assert {endpoint["port"]} == {each["port"] for each in allowed["ports"]}
    for name in apps:
        [port] = container(name)["ports"]
        assert port["name"] == endpoint["port"]
        assert f"--metrics-port {port['containerPort']}" in " ".join(container(name)["args"])


def test_alert_rules_are_those_of_prometheus() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text("utf-8"))
    assert resources("operators")[-1]["spec"] == rules, "its first lines say how it is made anew"


@pytest.mark.parametrize("name", ["filters", "consumers", "monitor"])
def test_pods_are_probed(name: str) -> None:
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container(name)[probe]["httpGet"] == {"path": path, "port": "metrics"}
        assert container(name)[probe]["timeoutSeconds"] >= 5


def test_budget_is_for_the_filters() -> None:
    budget = named("PodDisruptionBudget", "filters")["spec"]
    assert budget["selector"] == named("Deployment", "filters")["spec"]["selector"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_pod_runs_as_an_ordinary_user_and_knows_kafka(name: str) -> None:
    assert pod(name)["securityContext"]["runAsNonRoot"] is True
    assert container(name)["image"] == "alertstream"
    context = container(name)["securityContext"]
    assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
    mounts = {each["name"] for each in container(name)["volumeMounts"]}
    templates = named("StatefulSet", "consumers")["spec"]["volumeClaimTemplates"]
    claimed = {each["metadata"]["name"] for each in templates} if name == "consumers" else set()
    assert mounts == {each["name"] for each in pod(name)["volumes"]} | claimed
    environment = {each["name"]: each for each in container(name)["env"]}
    user = environment["ALERTSTREAM_USERNAME"]["value"]
    secret = environment["ALERTSTREAM_PASSWORD"]["valueFrom"]["secretKeyRef"]
    assert secret == {"name": named("KafkaUser", user)["metadata"]["name"], "key": "password"}


def test_there_are_a_hundred_consumers_numbered_from_one() -> None:
    spec = named("StatefulSet", "consumers")["spec"]
    assert (spec["replicas"], spec["ordinals"]) == (100, {"start": 1})
    assert "1-100" in container("filters")["args"]


def test_a_sender_that_has_failed_does_not_send_again() -> None:
    job = named("Job", "sender")["spec"]
    assert (job["suspend"], job["backoffLimit"]) == (True, 0)
    assert pod("sender")["restartPolicy"] == "Never"


def test_mirror_has_the_settings_of_the_rehearsed_one() -> None:
    [resource] = resources("mirror")
    spec = resource["spec"]
    [mirrored] = spec["mirrors"]
    settings = mirror_settings()
    target = {f"partner.{key}": value for key, value in spec["target"]["config"].items()}
    source = dict(mirrored["sourceConnector"]["config"])
    assert source.pop("exactly.once.support") == "required", "dedicated ones do not know it"
    for connector in (source, mirrored["checkpointConnector"]["config"]):
        target |= {_name(key, settings): value for key, value in connector.items()}
    copies = {"${env:PARTNER_REPLICATION}": "3"}
    for key, value in target.items():
        wanted = copies.get(settings[key], settings[key])
        assert str(value).lower() == wanted.lower(), key
    assert settings["central->partner.topics"].replace(" ", "") == mirrored["topicsPattern"]
    assert spec["target"]["groupId"] == "central-mm2", "the name that Kafka's own would have"


def _name(key: str, settings: dict[str, str]) -> str:
    names = (key, f"central.{key}", f"central->partner.{key}")
    return next(name for name in names if name in settings)
