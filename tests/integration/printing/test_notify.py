"""``alertstream notify``: real mails and requests of what is told, each once, and no secret."""

from __future__ import annotations

import io
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.support import raw_kafka
from tests.support.commands import finish, run, send_visits, start, stop, until
from tests.support.receivers import http_server, mail_server

ALL = ("--from", "earliest", "--exit-on-eof")
SECRETS = ("hunter2secret", "hooktoken")


@pytest.fixture
def stream(kafka: str, topic: str, visits: Path) -> str:
    """A topic with 360 alerts."""
    send_visits(kafka, topic, visits)
    return topic


def place(line: dict[str, Any]) -> tuple[int, int]:
    return line["partition"], line["offset"]


def configured(folder: Path, **services: str) -> Path:
    file = folder / "config.toml"
    lines = [f'{name} = "{url}"' for name, url in services.items()]
    file.write_text("\n".join(["[services]", *lines]))
    file.chmod(0o600)
    return file


def test_people_are_told_of_an_alert_and_of_many(kafka: str, stream: str, tmp_path: Path) -> None:
    shown = ("--fields", "source_id,object_id,ra,dec", "--format", "json", "-n", 1, *ALL)
    (one,) = (each["alert"] for each in run("print", kafka, stream, *shown).objects)
    with http_server() as web, mail_server() as (smtp, mails):
        config = configured(
            tmp_path,
            mail=f"mailto://{smtp}?from=alerts@example.org&to=ada@example.org",
            hook=f"json://ada:hunter2secret@{web.url}/hooktoken",
        )
        who = ("--to", "hook", "--config", config, *ALL)
        where = ("--where", f"source_id == {one['source_id']}")
        alone = run("notify", kafka, stream, *who, "--to", "mail", *where)
        many = run("notify", kafka, stream, *who, "--at-most", "2/day", "--group", "all")
    assert (alone.status, many.status) == (0, 0), alone.err + many.err
    assert "360 read = 1 told in 1 message + 359 skipped + 0 undecodable" in alone.err
    assert "360 read = 360 told in " in many.err
    assert (alone.out, many.out) == ("", "")
    (mail,), (requested, *digests) = mails, web.taken
    body = mail.get_body()
    assert body is not None
    text = body.get_content()
    assert str(one["object_id"] or one["source_id"]) in mail["Subject"] == requested["title"]
    assert f"{one['ra']:.5f} {one['dec']:+.5f} deg" in text
    assert "https://aladin.cds.unistra.fr/AladinLite/?target=" in text
    assert text.split() == requested["message"].split()
    (picture,) = mail.iter_attachments()
    assert picture.get_content_type() == "image/png"
    assert Image.open(io.BytesIO(picture.get_content())).size == (752, 310)
    assert len(requested["attachments"]) == 1
    assert 1 <= len(digests) <= 2
    counts = [re.match(r"(\d+) alerts in ", each["title"]) for each in digests]
    assert sum(int(found[1]) if found else 1 for found in counts) == 360


def test_nothing_is_committed_before_it_was_taken(kafka: str, stream: str, tmp_path: Path) -> None:
    group = f"{stream}-people"
    with http_server() as web:
        url = f"json://ada:hunter2secret@{web.url}/hooktoken?rto=0.5"
        command = ("notify", kafka, stream, "--to", url, "--group", group, "--from", "earliest")
        web.statuses = [0]
        process = start(*command)
        until(lambda: web.asked, "it has asked the server that hangs")
        stopped = stop(process, signal.SIGTERM)
        assert stopped.status == 0
        assert " not told, and read again next time" in stopped.err
        assert "others on this machine can see the secrets of json://…" in stopped.err
        assert not any(raw_kafka.committed(kafka, group).values())
        web.statuses = [500, 500, 200]
        ended = run(*command, "--exit-on-eof", "--debug")
    assert ended.status == 0, ended.err
    assert len(web.asked) - len(web.taken) >= 3
    assert "has not taken a message: Failed to send JSON POST" in ended.err
    assert "json://… takes messages again" in ended.err
    assert "360 read = 360 told in " in ended.err
    assert raw_kafka.committed(kafka, group) == raw_kafka.ends(kafka, stream)
    said = stopped.err + ended.err
    assert [each for each in SECRETS if each in said] == []


@pytest.mark.slow
def test_killed_before_a_message_was_taken(kafka: str, stream: str) -> None:
    with http_server() as web:
        command = ("notify", kafka, stream, "--to", f"json://{web.url}/", *ALL)
        web.statuses = [500]
        process = start(*command)
        until(lambda: len(web.asked) > 1, "it has tried twice")
        process.kill()
        finish(process)
        web.statuses = [200]
        ended = run(*command)
        titles = [each["title"] for each in web.taken]
    assert "360 read = 360 told in " in ended.err
    assert sum(int(each.split()[0]) for each in titles) == 360


def test_a_command_gets_the_json_of_print(kafka: str, stream: str) -> None:
    raw_kafka.write(kafka, stream, [b"junk"])
    where = ("--where", "snr > 60", *ALL)
    taken = run("notify", kafka, stream, "--exec", "cat", *where)
    printed = run("print", kafka, stream, "--format", "json", *where)
    assert (taken.status, printed.status) == (3, 3)
    expected = [each for each in printed.objects if each["alert"]]
    assert sorted(taken.objects, key=place) == sorted(expected, key=place)
    assert f" = {len(taken.objects)} told + " in taken.err
    assert " + 1 undecodable" in taken.err
