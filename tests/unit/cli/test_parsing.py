"""Where an option's value comes from, and what the help of commands looks like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from alertstream.cli.app import app
from alertstream.cli.options.parsing import GROUPS, root_options_apart
from alertstream.cli.options.reading import start_of
from alertstream.errors import UsageError

PROGRAM: Any = get_command(app)


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def parsed(*arguments: str) -> Any:
    return PROGRAM.main([*arguments], "alertstream", standalone_mode=False)


def leaves(command: Any = PROGRAM, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, each in command.commands.items():
        if hasattr(each, "commands"):
            yield from leaves(each, *names, name)
        else:
            yield (*names, name), each


def config(folder: Path, text: str) -> str:
    file = folder / "mine.toml"
    file.write_text(text)
    file.chmod(0o600)
    return str(file)


def test_option_before_environment_before_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = config(tmp_path, "limit = 1\n[print]\ncount = 9\n")
    assert parsed("send", "h:1", "t").limit == 10_000
    assert parsed("--config", file, "send", "h:1", "t").limit == 1
    monkeypatch.setenv("ALERTSTREAM_CONFIG", file)
    assert parsed("send", "h:1", "t").limit == 1
    monkeypatch.setenv("ALERTSTREAM_LIMIT", "2")
    assert parsed("send", "h:1", "t").limit == 2
    monkeypatch.setenv("ALERTSTREAM_SEND_LIMIT", "3")
    assert parsed("send", "h:1", "t").limit == 3
    assert parsed("send", "h:1", "t", "--limit", "4").limit == 4
    assert parsed("print", "h:1", "t").count == 9


def test_profile_before_table_before_what_holds_for_all(tmp_path: Path) -> None:
    text = "username = 'a'\n[print]\nusername = 'b'\n[profiles.p]\nbroker = 'p:1'\nusername = 'c'\n"
    how = ("--config", config(tmp_path, text))
    assert parsed("send", "h:1", "t", *how).username == "a"
    assert parsed("print", "h:1", "t", *how).username == "b"
    assert parsed("print", "t", *how, "--profile", "p").username == "c"


def test_broker_of_a_profile(tmp_path: Path) -> None:
    file = config(tmp_path, "[profiles.p]\nbroker = 'p:1'\n")
    how = ("--config", file, "--profile=p")
    shown = parsed("print", "t", "3", *how)
    assert (shown.broker, shown.topic, shown.interval) == ("p:1", "t", 3)
    assert parsed("print", "t", *how, "--broker", "h:1").broker == "h:1"
    assert parsed("--broker", "h:1", "print", "t").topic == "t"
    assert parsed("doctor", *how).broker == "p:1"
    assert parsed("schema", "list", *how).registry is None
    assert parsed("filter", "t", "1", "2", *how).filter == ["1", "2"]


def test_options_of_each_command_are_named_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (
        ("ALERTSTREAM_FROM", "latest"),
        ("ALERTSTREAM_PRINT_GROUP", "g"),
        ("ALERTSTREAM_SHOW_REGISTRY", "http://r:1"),
        ("ALERTSTREAM_WORKERS", "5"),
        ("ALERTSTREAM_FILTER_WORKERS", "3"),
        ("ALERTSTREAM_CA_FILE", "/ca"),
        ("ALERTSTREAM_SEND_DATA", "/a:/b"),
    ):
        monkeypatch.setenv(name, value)
    shown = parsed("print", "h:1", "t")
    assert (shown.from_, shown.group, shown.ca_file) == ("latest", "g", Path("/ca"))
    assert parsed("schema", "show", "1").registry == "http://r:1"
    sent = parsed("send", "h:1", "t")
    assert (sent.workers, sent.data) == (1, [Path("/a"), Path("/b")])
    assert parsed("filter", "h:1", "t").workers == 3
    assert parsed("broker").ca_file is None


def test_one_value_in_the_file_where_several_are_possible(tmp_path: Path) -> None:
    file = config(tmp_path, "[print]\nsave = 'a.avro'\n")
    assert parsed("print", "h:1", "t", "--config", file).save == [Path("a.avro")]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("limits = 1", "did you mean limit?"),
        ("workers = 2", "there is no option workers"),
        ("[print]\nworkers = 2", "there is no option workers"),
        ("[profiles]\np = 1", "there is no profile p"),
        ("[profiles.p]\nbroker = 1", "broker is not a string"),
        ("[services]\nphone = 1", "phone has no URL"),
        ("services = 'json://ada:hunter2'", "NAME has no URL"),
        ("= 1", "not valid TOML"),
    ],
)
def test_wrong_configuration(tmp_path: Path, text: str, what: str) -> None:
    profile = ("--profile", "p") if "profiles" in text else ()
    with pytest.raises(UsageError, match=what.replace("?", r"\?")):
        parsed("print", "h:1", "t", "--config", config(tmp_path, text), *profile)


def test_choices_are_taken_in_upper_or_lower_case() -> None:
    assert parsed("print", "h:1", "t", "--security-protocol", "sasl_ssl").security_protocol == (
        "SASL_SSL"
    )
    assert parsed("print", "h:1", "t", "--format", "JSON").format == "json"


def test_options_of_the_program_may_stand_anywhere() -> None:
    given = ["print", "--profile", "p", "h:1", "--config=f", "--debug", "-n", "1"]
    own, rest = root_options_apart(given)
    assert own == ["--profile", "p", "--config=f", "--debug"]
    assert rest == ["print", "h:1", "-n", "1"]


def test_help_is_in_groups_that_have_an_order() -> None:
    for names, command in leaves():
        for each in command.params:
            assert (getattr(each, "rich_help_panel", None) or "Options") in GROUPS, names
        shown = command.get_help(command.make_context(" ".join(names), [], resilient_parsing=True))
        headings = [line[:-1] for line in shown.splitlines() if line[:-1] in GROUPS]
        assert headings == sorted(headings, key=GROUPS.index)
        assert headings[-1] == "General"


def test_first_sentence_of_each_command_fits_the_list_of_commands() -> None:
    for names, command in leaves():
        if len(names) == 1:
            assert not command.get_short_help_str(66).endswith("..."), names


@pytest.mark.parametrize("text", ["12h", "yesterday", "", "2026-13-01"])
def test_starts_that_are_not_valid(text: str) -> None:
    with pytest.raises(UsageError, match="not a valid --from"):
        start_of(text)
