"""No command shows text from outside that commands a terminal, wherever it comes from."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from tests.support import raw_kafka
from tests.support.commands import Finished, run
from tests.support.hostile_text import COMMANDS, FORMULA, harmless
from tests.support.registry_service import reply, server
from tests.support.samples import body_of, sample_alert, sample_file, write_container
from tests.support.terminal import in_a_terminal

from alertstream.avro.wire import pack

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "hostile",
    "doc": COMMANDS,
    "fields": [
        {"name": "objectId", "type": "string", "doc": COMMANDS},
        {"name": "candid", "type": "long"},
        {"name": "band", "type": "string", "default": COMMANDS},
    ],
}
ALERT = {"objectId": f"{FORMULA}{COMMANDS}", "candid": 7, "band": COMMANDS}
PAINT = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
"""What rich commands a terminal: colours, and where the cursor is."""


@pytest.fixture(scope="module")
def stream(kafka: str) -> str:
    """A topic with such text in alerts, keys, headers, and in what is no alert."""
    content = BytesIO()
    fastavro.writer(content, SCHEMA, [ALERT])
    origin = json.dumps({"topic": COMMANDS, "partition": 0, "offset": 1, "timestamp": 2})
    reason = ("alertstream.reason", COMMANDS.encode())
    headers = [reason, ("alertstream.origin", origin.encode()), (COMMANDS, b"x")]
    raw_kafka.make(kafka, "hostile-text")
    messages = [content.getvalue(), COMMANDS.encode()]
    raw_kafka.write(kafka, "hostile-text", messages, key=COMMANDS.encode(), headers=headers)
    return "hostile-text"


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    """The address of a registry that answers with such text only."""

    def answer(handler: Any) -> None:
        answers: dict[str, Any] = {
            "/subjects": [COMMANDS],
            "versions": [1],
            "1": {"id": 1, "schema": json.dumps(SCHEMA)},
        }
        for ending, found in answers.items():
            if handler.command == "GET" and handler.path.endswith(ending):
                return reply(handler, 200, json.dumps(found).encode())
        reply(handler, 422, json.dumps({"error_code": 42201, "message": COMMANDS}).encode())

    with server(answer) as url:
        yield url


def shown(*arguments: object) -> Finished:
    return harmless(run(*arguments))


@pytest.mark.hostile("12: alerts, headers and group names that command a terminal")
def test_messages(kafka: str, stream: str, tmp_path: Path) -> None:
    filters = tmp_path / "mine.py"
    filters.write_text(
        "import logging\nfrom alertstream import AlertFilter\n"
        f"class Mine(AlertFilter):\n    {COMMANDS.encode()!r}.decode()\n"
        "    def passes(self, alert):\n"
        "        logging.getLogger('mine').warning(alert['band'])\n"
        "        raise KeyError(alert['band'])\n"
    )
    group = f"{COMMANDS}\n"
    for form in ("text", "json"):
        printed = shown(
            "print", kafka, stream, "--exit-on-eof", "--format", form, "-g", group + form
        )
        assert printed.status == 3
        shown("monitor", kafka, stream, "--exit-on-eof", "--format", form)
        own = ("--filters", filters, "--delivery", "at-least-once", "--cap", 0)
        ended = shown("filter", kafka, stream, *own, "--format", form, "--exit-on-eof", "-g", form)
        assert "KeyError" in ended.err
        shown("filter", "--list", "--filters", filters, "--format", form)
        shown("doctor", kafka, stream, "--format", form, "-g", group + form)
    fields = ("--fields", "objectId,candid,band")
    shown("print", kafka, stream, "--exit-on-eof", *fields)
    table = shown("print", kafka, stream, "--exit-on-eof", *fields, "--format", "csv")
    _, row = csv.reader(table.lines)
    assert row[0].startswith(f"'{FORMULA}")
    assert row[1] == "7"
    shown("print", kafka, f"no-{COMMANDS}-topic", "--exit-on-eof")
    shown("--debug", "print", kafka, stream, "--exit-on-eof")


@pytest.mark.hostile("12: a registry whose answers command a terminal")
def test_registries(kafka: str, stream: str, registry: str, tmp_path: Path) -> None:
    listed = shown("schema", "list", "--registry", registry)
    assert listed.status == 0
    for form in ("text", "json"):
        shown("doctor", kafka, stream, "--registry", registry, "--format", form)
    shown("schema", "show", "1", "--registry", registry)
    assert shown("schema", "show", "2", "--registry", registry).status == 1
    assert shown("schema", "register", registry, "10.0").status == 1
    sent = shown("send", kafka, "unsent", "--data", sample_file("10.0"), "--registry", registry)
    assert sent.status == 1
    raw_kafka.write(kafka, stream, [b"\0\0\0\0\x02"])
    assert shown("print", kafka, stream, "--exit-on-eof", "--registry", registry).status == 3


@pytest.mark.hostile("12: files whose names and content command a terminal")
def test_files(kafka: str, tmp_path: Path) -> None:
    folder = tmp_path / f"[link=evil]{COMMANDS}"
    folder.mkdir()
    file = write_container(folder / f"[link=evil]{COMMANDS}.avro", SCHEMA, [ALERT])
    schema = tmp_path / f"{COMMANDS}.avsc"
    schema.write_text(json.dumps(SCHEMA | {"fields": SCHEMA["fields"][:2]}))
    for form in ("text", "json"):
        how = ("--data", folder, "--interval", 0, "--schemas", tmp_path / "known", "--format", form)
        assert shown("send", kafka, "sent-text", *how).status == 0
        shown("filter", "--dry-run", file, "--where", f"band == '{COMMANDS}'", "--format", form)
    shown("schema", "show", file)
    shown("schema", "diff", file, schema)
    shown("schema", "check", file, schema)
    assert shown("simulate", folder, "--visits", 1, "--alerts", 1, "--cutout-size", 15).status == 0
    file.write_bytes(file.read_bytes()[:-1])
    assert shown("send", kafka, "sent-text", "--data", file).status == 1
    for words in (
        ("print", kafka, "x", "--save", folder),
        ("broker", "--users", file),
        (COMMANDS,),
    ):
        assert shown(*words).status in (1, 2)
    for words in (("send", kafka, "x", "--data", f"{file}2"), ("demo", "--visits", COMMANDS)):
        assert shown(*words).status in (1, 2)


@pytest.mark.hostile("12: a terminal that shows what commands it")
@pytest.mark.parametrize("what", ["print", "monitor", "send"])
def test_terminals(kafka: str, stream: str, what: str, tmp_path: Path) -> None:
    kept = ("--schemas", tmp_path / "known")
    arguments = {
        "print": ("print", kafka, stream, "--exit-on-eof"),
        "monitor": ("monitor", kafka, stream, "--exit-on-eof"),
        "send": ("send", kafka, "sent-text", "--interval", 0, "--data", tmp_path, *kept),
    }
    write_container(tmp_path / f"[link=evil]{COMMANDS}.avro", SCHEMA, [ALERT] * 3, sync_interval=1)
    out = tmp_path / "out" if what == "send" else None
    raw = in_a_terminal(*arguments[what], columns=120, stdout=out)
    assert raw.status in (0, 3)
    for line in PAINT.sub("", raw.out + raw.err).split("\n"):
        assert line.isprintable(), repr(line)
    assert "owned" in raw.out + raw.err or what == "monitor"


@pytest.mark.hostile("2: messages from years that no calendar has")
@pytest.mark.slow
def test_timestamps(kafka: str, topic: str) -> None:
    limits = {f"message.timestamp.{which}.max.ms": str(2**63 - 1) for which in ("before", "after")}
    # Kafka would delete what is so old.
    raw_kafka.make(kafka, topic, **limits, **{"retention.ms": "-1"})
    body = pack(1000, body_of(sample_alert("10.0"), "10.0"))
    for timestamp in (0, 2**62):
        raw_kafka.write(kafka, topic, [body, b"junk"], timestamp_ms=timestamp)
        raw_kafka.write(kafka, topic, [body] * 20, timestamp_ms=timestamp)
        found = shown("doctor", kafka, topic)
        assert "decoding" in found.out, found
    for form in ("text", "json"):
        for words in (
            ("print",),
            ("monitor",),
            ("filter", "Filter001", "--delivery", "at-least-once", "-g", form),
        ):
            ended = shown(words[0], kafka, topic, *words[1:], "--exit-on-eof", "--format", form)
            assert ended.status == 3, ended
