"""What Tab offers, asked as shells ask: through the environment of the installed command."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.support import preloaded, raw_kafka
from tests.support.commands import COMMAND, clean_environment

HANGS_AFTER = 30.0
"""Seconds; an idle machine takes less than half a second."""


def ask(line: str, **environment: str) -> list[str]:
    """Press Tab after a line in bash, which takes ``:`` and ``=`` for words of their own.

    Its script joins the words with line feeds.
    """
    words = line.replace(":", " : ").replace("=", " = ").split(" ")
    words = [word for word in words[:-1] if word] + words[-1:]
    return answer(
        "complete_bash", COMP_WORDS="\n".join(words), COMP_CWORD=f"{len(words) - 1}", **environment
    )


def answer(what: str, **environment: str) -> list[str]:
    asking = clean_environment(_ALERTSTREAM_COMPLETE=what, **environment)
    status, out, err = preloaded.run([], asking, HANGS_AFTER)
    assert (err, status) == ("", 0)
    return [line for line in out.splitlines() if line]


@pytest.fixture(scope="module")
def topics(kafka: str) -> list[str]:
    """Topics of which no other test knows."""
    names = ["completed-alerts", "completed-Filter001"]
    for name in names:
        raw_kafka.make(kafka, name)
    return sorted(names)


def test_the_installed_command_answers() -> None:
    asking = {"_ALERTSTREAM_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    environment = clean_environment(**asking, COMP_WORDS="alertstream\nsi")
    assert subprocess.check_output([COMMAND], text=True, env=environment).split() == ["simulate"]


def test_commands_and_options() -> None:
    assert ask("alertstream si") == ["simulate"]
    assert ask("alertstream print --exit") == ["--exit-on-eof"]
    assert ask("alertstream print --format=j") == ["json"]
    assert ask("alertstream send --compression=s") == ["snappy"]
    assert ask("alertstream print b t --security-protocol=SASL") == ["SASL_PLAINTEXT", "SASL_SSL"]
    assert ask("alertstream schema s") == ["show"]


def test_topics_of_the_broker(kafka: str, topics: list[str]) -> None:
    for command in ("print", "send", "filter", "doctor"):
        assert ask(f"alertstream {command} {kafka} completed") == topics
    assert ask(f"alertstream print --format json {kafka} completed-a") == ["completed-alerts"]
    assert ask(f"alertstream print {kafka} nothing-like-that") == []
    assert not [each for each in ask(f"alertstream print {kafka} ") if each.startswith("_")]
    assert ask(f"alertstream monitor {kafka} {topics[0]} completed") == topics[1:]


@pytest.mark.slow
def test_topics_of_a_profile(kafka: str, topics: list[str], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[profiles.mine]\nbroker = "{kafka}"\n[profiles.there]\nbroker = "127.0.0.1:1"\n'
    )
    where = {"ALERTSTREAM_CONFIG": str(config)}
    assert ask("alertstream --profile ", **where) == ["mine", "there"]
    assert ask("alertstream print --profile=m", **where) == ["mine"]
    assert ask(f"alertstream print --config {config} --profile m") == ["mine"]
    assert ask("alertstream print --profile mine completed", **where) == topics
    assert ask("alertstream --profile mine print completed", **where) == topics
    assert ask("alertstream print completed", ALERTSTREAM_PROFILE="mine", **where) == topics
    assert ask("alertstream print --profile there completed", **where) == []


@pytest.mark.parametrize(
    "line",
    [
        "alertstream print 127.0.0.1:1 al",
        "alertstream print 127.0.0.1: al",
        "alertstream print no-such-host.invalid:9092 al",
        "alertstream print HOST al",
        "alertstream print HOST:PORT --username ada --security-protocol NONE al",
        "alertstream print --profile nothing al",
        "alertstream --config /nonexistent --profile n",
        "alertstream print --schemas /nonexistent --fields candid",
        "alertstream nonsense al",
        "alertstream print --nonsense al",
        "nonsense",
    ],
)
def test_nothing_is_offered_where_something_is_wrong(line: str) -> None:
    assert ask(line) == []


def test_nothing_is_asked() -> None:
    assert answer("complete_bash") == []
    assert answer("complete_bash", COMP_WORDS="alertstream pr", COMP_CWORD="x") == []


FILTERS = """
from alertstream import AlertFilter
import alertstream.filtering.filters as those
raise SystemExit("this file is run")
class Base(AlertFilter): "Without passes."
class Bright(Base):
    def passes(self, alert): return True
class Second(those.TemplateFilter): pass
class Helper:
    def passes(self): pass
"""


def test_filters(tmp_path: Path) -> None:
    assert ask("alertstream filter HOST alerts Filter00")[:2] == ["Filter001", "Filter002"]
    assert len(ask("alertstream filter HOST alerts ")) == 100
    mine, broken = tmp_path / "mine.py", tmp_path / "broken.py"
    mine.write_text(FILTERS)
    broken.write_text("class:")
    assert ask(f"alertstream filter HOST alerts --filters {mine} ") == ["Bright", "Second"]
    assert ask(f"alertstream filter HOST alerts --filters {mine} F 1 Sec") == ["Second"]
    for path in (broken, tmp_path, tmp_path / "none.py"):
        assert ask(f"alertstream filter HOST alerts --filters {path} Filter10") == ["Filter100"]


def test_fields() -> None:
    every = ask("alertstream print HOST alerts --fields ")
    assert {"magnitude", "diaSource", "diaSource.", "cutoutScience"} < set(every)
    assert len(every) < 60
    assert "band,diaSource.snr" in ask("alertstream print HOST alerts --fields band,diaSource.sn")
    assert ask("alertstream print HOST alerts --fields band,ban") == []
    assert ask("alertstream print HOST alerts --fields diaSource.psFluxE") == [
        "diaSource.psFluxErr"
    ]


def test_fields_of_a_folder(tmp_path: Path) -> None:
    schema = '{"type": "record", "name": "own", "fields": [{"name": "ownField", "type": "int"}]}'
    (tmp_path / "4242.avsc").write_text(schema)
    (tmp_path / "4243.avsc").write_text("{")
    assert ask(f"alertstream print HOST alerts --schemas {tmp_path} --fields ownF") == ["ownField"]
    assert ask(f"alertstream schema show --schemas {tmp_path} 42") == ["4242"]


def test_fields_in_an_expression() -> None:
    words = ["alertstream", "filter", "HOST", "alerts", "--where"]
    words.append("'diaSource.snr > 5 and diaSource.ban")
    asked = answer("complete_bash", COMP_WORDS="\n".join(words), COMP_CWORD="5")
    assert asked == ["diaSource.snr > 5 and diaSource.band"]


def test_schema_versions() -> None:
    assert ask("alertstream schema show 11") == ["11.1", "11.0"]
    assert ask("alertstream schema check 10.0 7.") == ["7.4", "7.3", "7.2", "7.1", "7.0"]
    assert ask("alertstream simulate night --schema 10") == ["10.0"]


def test_other_shells(kafka: str, topics: list[str]) -> None:
    line = {"_TYPER_COMPLETE_ARGS": f"alertstream print {kafka} completed-a"}
    (zsh,) = answer("complete_zsh", **line)
    assert '"completed-alerts"' in zsh
    fish = answer("complete_fish", _TYPER_COMPLETE_FISH_ACTION="get-args", **line)
    assert fish == ["completed-alerts"]
    for shell in ("bash", "zsh", "fish"):
        script = "\n".join(answer(f"source_{shell}"))
        assert f"complete_{shell}" in script
