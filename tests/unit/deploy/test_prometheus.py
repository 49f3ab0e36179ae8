"""Alert rules and the dashboard ask for metrics that there are; promtool shows that rules fire."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from alertstream.monitoring.metrics import METRICS, PREFIX
from alertstream.reading.histogram import BOUNDS

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
ALERTS = [
    rule
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
PANELS = json.loads((DEPLOY / "grafana" / "alertstream.json").read_text(encoding="utf-8"))["panels"]
EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in ALERTS} | {
    panel["title"]: " ".join(each["expr"] for each in panel["targets"]) for panel in PANELS
}
ADDED = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
SERVED = {
    f"{PREFIX}{name}{end}": metric for name, metric in METRICS.items() for end in ADDED[metric.kind]
}
BY_PROMETHEUS = {"job", "instance", "le"}


def used(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The metrics of an expression, each with the labels that it must have."""
    for name, labels in re.findall(r"\b(alertstream_\w+)(?:\{(.*?)\})?", expression):
        yield name, dict(re.findall(r'(\w+)[=!]~?"(.*?)"', labels))


@pytest.mark.parametrize("what", EXPRESSIONS)
def test_expressions_ask_for_what_is_served(what: str) -> None:
    found = [*used(EXPRESSIONS[what])]
    assert found
    known = set(BY_PROMETHEUS)
    for name, labels in found:
        assert name in SERVED, name
        assert labels.keys() <= {*SERVED[name].labels, "le"}, name
        assert labels.get("le", "60.0") in map(str, BOUNDS)
        known |= {*SERVED[name].labels}
    for by in re.findall(r"\b(?:by|on) \((.*?)\)", EXPRESSIONS[what]):
        assert {*by.split(", ")} <= known, by


def test_the_dashboard_shows_all_metrics() -> None:
    shown = {name for panel in PANELS for name, _ in used(EXPRESSIONS[panel["title"]])}
    assert {*METRICS.values()} == {SERVED[name] for name in shown}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_rules_say_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["annotations"].keys() == {"summary", "description"}
    labels = {*BY_PROMETHEUS}.union(*(SERVED[name].labels for name, _ in used(rule["expr"])))
    named = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
    assert {*named} <= labels
    tested = (RULES.parent / "rules_test.yaml").read_text(encoding="utf-8")
    assert tested.count(f"alertname: {rule['alert']}") >= 2, "that it fires, and that it does not"


def promtool(*arguments: str, folder: Path = RULES.parent) -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is missing (Debian has it in the package prometheus)")
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_rules_fire_when_they_should() -> None:
    promtool("check", "rules", RULES.name)
    promtool("test", "rules", "rules_test.yaml")


def test_prometheus_understands_the_dashboard(tmp_path: Path) -> None:
    asked = [each["expr"] for panel in PANELS for each in panel["targets"]]
    rules = [{"record": f"asked:{number}", "expr": each} for number, each in enumerate(asked)]
    groups = {"groups": [{"name": "dashboard", "rules": rules}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(groups), encoding="utf-8")
    promtool("check", "rules", "rules.yaml", folder=tmp_path)
