"""Where options come from: command line before environment before configuration file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests.support import raw_kafka
from tests.support.commands import COMMAND, run

import alertstream


def limits(lines: list[str]) -> list[int]:
    return [int(line.split(" of ")[1].split()[0]) for line in lines]


def send(kafka: str, topic: str, *more: object, **environment: str) -> list[int]:
    sent = run("send", kafka, topic, *more, **environment)
    assert sent.status == 0, sent.err
    return limits(sent.lines)


def test_option_before_environment_before_file(kafka: str, topic: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("interval = 0\n[send]\nlimit = 3\n[print]\ncount = 1\n")
    assert send(kafka, topic, "--config", config) == [3] * 4
    assert send(kafka, topic, ALERTSTREAM_CONFIG=str(config)) == [3] * 4
    common = {"ALERTSTREAM_CONFIG": str(config), "ALERTSTREAM_LIMIT": "5"}
    assert send(kafka, topic, **common) == [5] * 4
    assert send(kafka, topic, **common, ALERTSTREAM_SEND_LIMIT="6") == [6] * 4
    assert send(kafka, topic, "--limit", 7, **common, ALERTSTREAM_SEND_LIMIT="6") == [7] * 4
    printed = run("print", kafka, topic, ALERTSTREAM_CONFIG=str(config))
    assert len(printed.lines) == 2


def test_file_of_the_users_configuration_folder(kafka: str, topic: str, tmp_path: Path) -> None:
    (tmp_path / "alertstream").mkdir()
    config = tmp_path / "alertstream" / "config.toml"
    config.write_text("interval = 0\nlimit = 2\n")
    assert send(kafka, topic, XDG_CONFIG_HOME=str(tmp_path)) == [2] * 4


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("interval = ", "not valid TOML"),
        ("intervall = 0", "there is no option intervall"),
        ("[sned]\nlimit = 1", "did you mean send?"),
        ("[send]\nlimits = 1", "did you mean limit?"),
        ("[send]\nlimit = 'many'", "'--limit'"),
    ],
)
def test_bad_configuration_file(content: str, what: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(content)
    sent = run("send", "127.0.0.1:1", "x", "--config", config)
    assert (sent.status, sent.out) == (2, "")
    assert what in sent.err
    assert sent.err.count("\n") == 1


def test_a_local_broker_is_not_set_up_by_what_clients_need(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("security_protocol = 'SSL'\nca_file = 'ca.pem'\nnodes = 2\n")
    for environment in ({}, {"ALERTSTREAM_SECURITY_PROTOCOL": "SASL_SSL"}):
        ended = run("broker", "--config", config, **environment)
        assert "--nodes must be 1 or 3, not 2" in ended.err
    config.write_text("[broker]\nsecurity_protocol = 'SSL'\n")
    for how, environment in (
        (("--config", config), {}),
        ((), {"ALERTSTREAM_BROKER_SECURITY_PROTOCOL": "SSL"}),
    ):
        ended = run("broker", *how, **environment)
        assert (ended.status, "SSL needs a certificate" in ended.err) == (2, True), ended.err
    config.write_text("cert_fil = 'server.pem'\n")
    assert "did you mean cert_file?" in run("broker", "--config", config).err


def test_a_password_in_the_table_of_a_command_without_one(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[simulate]\npassword = 'secret-1'\n")
    config.chmod(0o600)
    ended = run("simulate", tmp_path, "--config", config)
    assert (ended.status, "there is no option password" in ended.err) == (2, True)
    assert "secret-1" not in ended.err


def test_missing_configuration_file() -> None:
    sent = run("--config", "/nonexistent.toml", "send", "127.0.0.1:1", "x")
    assert sent.status == 2
    assert "/nonexistent.toml" in sent.err


def test_bad_value_in_the_environment() -> None:
    sent = run("send", "127.0.0.1:1", "x", ALERTSTREAM_LIMIT="many")
    assert sent.status == 2
    assert "'--limit'" in sent.err


def test_password_is_never_shown(tmp_path: Path) -> None:
    secret = "correct horse"
    (tmp_path / "password").write_text(f"{secret}\n")
    how = ("--security-protocol", "SASL_PLAINTEXT", "--username", "ada")
    for more, environment in (
        (("--password-file", tmp_path / "password"), {}),
        ((), {"ALERTSTREAM_PASSWORD": secret}),
    ):
        sent = run("send", "127.0.0.1:1", "x", *how, *more, **environment)
        assert sent.status == 1
        assert "Kafka cannot be reached" in sent.err
        assert secret not in sent.err


def test_debug_shows_the_traceback() -> None:
    for arguments in (["--debug", "send", "127.0.0.1:1", "x"], ["send", "h:1", "x", "--debug"]):
        shown = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False)
        assert shown.returncode == 1
        assert shown.stderr.startswith("DEBUG:aiokafka")
        assert "\nerror: Kafka cannot be reached" in shown.stderr
        assert "Traceback" in shown.stderr
        assert "BrokerError" in shown.stderr
    asked = [COMMAND, "send", "h:1", "x", "--debug", "--log-format", "json"]
    shown = subprocess.run(asked, capture_output=True, text=True, check=False)
    *debug, error = [json.loads(line) for line in shown.stderr.splitlines()]
    assert debug[0]["logger"].startswith("aiokafka")
    assert (error["level"], error["where"]) == ("error", "h:1")
    assert "Traceback" in error["exception"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["sned"], "Did you mean 'send'?"),
        (["send"], "Missing argument 'BROKER'"),
        (["send", "h:1"], "Missing argument 'TOPIC'"),
        (["--nothing"], "No such option: --nothing"),
        (["schema", "show"], "Missing argument"),
    ],
)
def test_wrong_usage(arguments: list[str], what: str) -> None:
    wrong = run(*arguments)
    assert (wrong.status, wrong.out) == (2, "")
    assert wrong.err.startswith("error: ")
    assert what in wrong.err
    assert wrong.err.count("\n") == 1


def test_help_of_everything() -> None:
    top = run("--help")
    assert top.status == run().status == 0
    assert run().out == top.out
    for name in ("send", "filter", "print", "monitor", "broker", "simulate", "demo", "schema"):
        assert f"\n  {name} " in top.out
        shown = run(name, "-h")
        assert shown.status == 0
        assert f"Usage: alertstream {name}" in shown.out


def test_version() -> None:
    shown = run("--version")
    assert shown.status == 0
    first, second = shown.lines
    assert first == f"alertstream {alertstream.__version__}"
    names = ["Python", "Kafka", "aiokafka", "fastavro", "uvloop"]
    assert [each.split()[0] for each in second.split(" · ")] == names


def test_schemas_of_the_package_and_of_a_folder(tmp_path: Path) -> None:
    listed = run("schema", "list")
    assert listed.status == 0
    assert "  1000  lsst.v10_0.alert  LSST" in listed.lines
    shown = run("schema", "show", "10.0")
    assert shown.status == 0
    (tmp_path / "4242.avsc").write_text(shown.out)
    table = tmp_path / "mine.toml"
    table.write_text('name = "Mine"\nschemas = ["lsst.v10_*.alert"]\n')
    listed = run("schema", "list", "--schemas", tmp_path, "--survey", table)
    assert "  4242  lsst.v10_0.alert  Mine" in listed.lines
    assert "  1100  lsst.v11_0.alert  LSST" in listed.lines
    for argument in ("1000", str(tmp_path / "4242.avsc")):
        assert json.loads(run("schema", "show", argument).out) == json.loads(shown.out)
    missing = run("schema", "show", "99.9")
    assert missing.status == 1
    assert missing.err.startswith("error: unknown schema id 9909")


def test_options_whose_names_python_keeps_for_itself(
    kafka: str, topic: str, tmp_path: Path
) -> None:
    assert run("send", kafka, topic, "--interval", 0, "--limit", 1).status == 0
    config = tmp_path / "config.toml"
    config.write_text(f"from = 'latest'\nexit-on-eof = true\n[print]\ngroup = 'of-{topic}'\n")
    how = {"ALERTSTREAM_CONFIG": str(config), "ALERTSTREAM_PRINT_FORMAT": "json"}
    assert run("print", kafka, topic, **how).out == ""
    anew = how | {"ALERTSTREAM_FROM": "earliest", "ALERTSTREAM_PRINT_GROUP": f"new-{topic}"}
    assert len(run("print", kafka, topic, **anew).lines) == 4
    assert raw_kafka.committed(kafka, f"of-{topic}")
    again = run("print", kafka, topic, **how, ALERTSTREAM_FROM="earliest")
    assert again.out == ""
    assert f"the group of-{topic} continues where it stopped" in again.err
