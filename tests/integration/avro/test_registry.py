"""A schema registry as the source of schemas: a real one, one that is down, and broken ones."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
import trustme
from tests.support import raw_kafka
from tests.support.commands import Finished, finish, help_example, run, start, stop, until
from tests.support.registry_service import RegistryService, ask, free_port, pass_on, reply, server
from tests.support.samples import (
    VERSIONS,
    body_of,
    official_schema,
    sample_alert,
    sample_file,
    schema_id,
)
from tests.support.schema_pairs import INNER, PAIRS, schema
from tests.support.ztf import ztf_alert

import alertstream
from alertstream.avro.container.blocks import CONTAINER_MAGIC
from alertstream.avro.evolution import differences, obstacles
from alertstream.avro.registry import RegistrySchemas
from alertstream.avro.registry_client import RegistryClient
from alertstream.avro.schemas import parsed
from alertstream.avro.wire import pack, schema_id_of
from alertstream.errors import SchemaError

UNREACHABLE = "http://127.0.0.1:1"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def kept(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.avsc"))


def failed(finished: Finished, what: str) -> bool:
    return (
        finished.status == 1
        and finished.out == ""
        and finished.err.startswith("error: ")
        and finished.err.count("\n") == 1
        and what in finished.err
    )


def fill(kafka: str, topic: str, messages: list[bytes]) -> None:
    if raw_kafka.describe(kafka, topic) is None:
        raw_kafka.make(kafka, topic)
    raw_kafka.write(kafka, topic, messages)


def ids(kafka: str, topic: str) -> set[int]:
    values = [message.value for message in raw_kafka.read(kafka, topic)]
    return {schema_id_of(value) for value in values if not value.startswith(CONTAINER_MAGIC)}


def test_from_file_to_subscriber(
    kafka: str, topic: str, visits: Path, registry: RegistryService
) -> None:
    at = ("--registry", registry.url)
    how = ("--data", visits, "--interval", 0, "--limit", 30)
    for _ in range(2):
        sent = run("send", kafka, topic, *how, *at)
        assert sent.status == 0, sent.err
    subject = f"{registry.url}/subjects/{topic}-value/versions"
    assert ask("GET", subject) == [1]
    assert ids(kafka, topic) == {ask("GET", f"{subject}/1")["id"]}
    number = ids(kafka, topic).pop()
    assert number != 1000
    eof = ("--exit-on-eof", "--format", "json")
    filtered = run(
        "filter", kafka, topic, "--where", "visit > 0", "--output", f"{topic}-all", *at, *eof
    )
    assert filtered.status == 0, filtered.err
    assert filtered.objects[-1]["seen"] == 180
    printed = run("print", kafka, topic, *at, *eof)
    assert printed.status == 0, printed.err
    assert {each["schema_id"] for each in printed.objects} == {number}
    assert len(printed.objects) == 180
    watched = run("monitor", kafka, topic, *at, *eof)
    assert watched.objects[-1]["topics"][topic]["alerts"] == 180
    without = run("print", kafka, topic, "--exit-on-eof")
    assert without.status == 3
    assert f"unknown schema id {number}" in without.err


@pytest.mark.slow
def test_full_circle(kafka: str, topic: str, registry: RegistryService, tmp_path: Path) -> None:
    at = ("--registry", registry.url)
    how = ("--interval", 0, *at)
    samples = [each for version in VERSIONS for each in ("--data", sample_file(version))]
    fill(kafka, topic, [ztf_alert(Science="s", Template="t", Difference="d")[1]])
    assert run("send", kafka, topic, *samples, *how).status == 0
    assert not ids(kafka, topic) & {schema_id(version) for version in VERSIONS}
    saved = run("print", kafka, topic, "--save", tmp_path / "r.avro", "--exit-on-eof", *at)
    assert saved.status == 0, saved.err
    data = [each for path in sorted(tmp_path.glob("*.avro")) for each in ("--data", path)]
    assert len(data) == 2 * (len(VERSIONS) + 1)
    assert run("send", kafka, f"{topic}-again", *data, *how).status == 0
    assert raw_kafka.bodies(kafka, f"{topic}-again") == raw_kafka.bodies(kafka, topic)
    shown = run("print", kafka, f"{topic}-again", "--exit-on-eof", "--format", "json", *at)
    assert (shown.status, len(shown.objects)) == (0, len(VERSIONS) + 1)


def test_from_python(kafka: str, topic: str, registry: RegistryService) -> None:
    async def sent_and_read() -> list[alertstream.ReceivedAlert]:
        at = {"registry": registry.url, "registry_login": ("ada", "secret")}
        sent = await alertstream.send(kafka, topic, sample_file("10.0"), partitions=2, **at)
        assert (sent.planned, sent.acknowledged) == (1, 1)
        reading = alertstream.read(kafka, topic, exit_on_eof=True, **at)
        return [alert async for alert in reading]

    (alert,) = asyncio.run(sent_and_read())
    assert alert == sample_alert("10.0")
    assert ids(kafka, topic) == {schema_id_of(alert.message.value)} != {1000}
    assert len(raw_kafka.describe(kafka, topic)["partitions"]) == 2


def test_settings_come_from_the_environment(
    kafka: str, topic: str, registry: RegistryService
) -> None:
    environment = {"ALERTSTREAM_REGISTRY": registry.url}
    how = ("--data", sample_file("10.0"), "--interval", 0, "--subject", "a b/ü")
    assert run("send", kafka, topic, *how, **environment).status == 0
    listed = run("schema", "list", **environment)
    assert f"{ids(kafka, topic).pop():>6}  a b/ü  version 1" in listed.lines
    assert run("print", kafka, topic, "--exit-on-eof", **environment).status == 0


def test_registry_that_may_only_be_read(kafka: str, topic: str, registry: RegistryService) -> None:
    refusals = [405, 401, 403]

    def readable(handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "GET":
            pass_on(handler, registry.url)
        else:
            reply(handler, refusals.pop(0), b"{}")

    described = official_schema("10.0") | {"doc": "as its authors describe it"}
    subject, name = f"{topic}-alert-packet", "lsst.v10_0.alert"
    registry.add(subject, official_schema("9.0"))
    number = registry.add(subject, described)
    how = ("--data", sample_file("10.0"), "--interval", 0, "--registry")
    # A version that reads the same bytes is used, and no other is made.
    assert run("send", kafka, topic, *how, registry.url, "--subject", subject).status == 0
    assert ids(kafka, topic) == {number}
    assert ask("GET", f"{registry.url}/subjects/{subject}/versions") == [1, 2]
    for rule, made in (("record", name), ("topic-record", f"{topic}-{name}")):
        assert run("send", kafka, topic, *how, registry.url, "--subject", rule).status == 0
        assert ask("GET", f"{registry.url}/subjects/{made}/versions")
    with server(readable) as url:
        to = f"{topic}-read-only"
        refused = run("send", kafka, to, *how, url)
        assert failed(refused, f"no such schema under {to}-value, and takes none"), refused.err
        assert "give the --subject that has it (there: " in refused.err
        assert raw_kafka.describe(kafka, to) is None
        assert run("send", kafka, to, *how, url, "--schema-id", 1000).status == 0
        assert ids(kafka, to) == {1000}
        assert run("send", kafka, f"{to}-2", *how, url, "--subject", subject).status == 0
        assert ids(kafka, f"{to}-2") == {number}
    assert refusals == [403]


def test_schema_that_is_not_compatible_is_not_sent(
    kafka: str, topic: str, tmp_path: Path, registry: RegistryService
) -> None:
    ask("PUT", f"{registry.url}/config/{topic}-value", {"compatibility": "FORWARD_TRANSITIVE"})
    registry.add(f"{topic}-value", official_schema("10.0"))
    name = tmp_path / "other.avro"
    schema = {"type": "record", "name": "lsst.v10_1.alert", "fields": []}
    with name.open("wb") as file:
        fastavro.writer(file, schema, [{}])
    sent = run("send", kafka, topic, "--data", name, "--registry", registry.url)
    assert failed(sent, "the registry rejects the schema (409"), sent.err
    assert raw_kafka.describe(kafka, topic) is None


def test_id_that_nobody_knows(kafka: str, topic: str, registry: RegistryService) -> None:
    asked: list[str] = []

    def count(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        pass_on(handler, registry.url)

    number = registry.add(f"{topic}-value", official_schema("10.0"))
    good = pack(number, body_of(sample_alert("10.0"), "10.0"))
    # To LSST's rule 900 is 9.0; a registry that is given has the say.
    fill(kafka, topic, [pack(900, b"x")] * 200 + [good])
    with server(count) as url:
        printed = run("print", kafka, topic, "--registry", url, "--exit-on-eof")
    assert printed.status == 3
    assert "schema id 900 is unknown to the registry" in printed.err
    assert "1 printed + 0 skipped + 200 undecodable" in printed.err
    assert sorted(asked) == sorted(["/schemas/ids/900", f"/schemas/ids/{number}"])


def test_folder_has_what_the_registry_has_not(
    kafka: str, topic: str, tmp_path: Path, registry: RegistryService
) -> None:
    (tmp_path / "98765.avsc").write_text(json.dumps(official_schema("10.0")))
    fill(kafka, topic, [pack(98765, body_of(sample_alert("10.0"), "10.0"))])
    how = ("--exit-on-eof", "--registry", registry.url)
    assert run("print", kafka, topic, *how).status == 3
    assert run("print", kafka, topic, *how, "--schemas", tmp_path).status == 0


def test_what_is_known_needs_no_registry(
    kafka: str, topic: str, cache: Path, registry: RegistryService
) -> None:
    asked: list[str] = []

    def up_or_down(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        pass_on(handler, registry.url)

    number = registry.add(f"{topic}-value", official_schema("10.0"))
    fill(kafka, topic, [pack(number, body_of(sample_alert("10.0"), "10.0"))] * 3)
    with server(up_or_down) as url:
        how = ("print", kafka, topic, "--exit-on-eof", "--registry", url)
        assert run(*how).status == 0
        assert run(*how).status == 0
        assert len(asked) == 1
        (file,) = kept(cache)
        assert file.name == f"{number}.avsc"
        for damage in (b"", b"\xff\xfe", b'{"type": "record"}', b"[" * 100_000):
            file.write_bytes(damage)
            assert run(*how).status == 0
            assert parsed(json.loads(file.read_bytes()))
        assert len(asked) == 5
        unwritable = cache.with_name("file")
        unwritable.write_text("no folder")
        assert run(*how, XDG_CACHE_HOME=str(unwritable)).status == 0
    down = run(*how)
    assert down.status == 0, down.err
    assert len(down.lines) == 4
    assert not [each for each in cache.rglob("*") if each.is_file() and each != file]


@pytest.mark.slow
def test_registry_down_at_the_start_and_in_the_middle(
    kafka: str, topic: str, registry: RegistryService
) -> None:
    answers_come = threading.Event()
    answers_come.set()

    def way_to_it(handler: BaseHTTPRequestHandler) -> None:
        answers_come.wait(60)
        with suppress(BrokenPipeError):
            pass_on(handler, registry.url)

    first, second = (registry.add(topic, official_schema(version)) for version in ("9.0", "10.0"))
    fill(kafka, topic, [pack(first, body_of(sample_alert("9.0"), "9.0"))] * 10)
    group, port = f"of-{topic}", free_port()
    command = ("filter", kafka, topic, "--where", "visit > 0", "--output", f"{topic}-out")
    command += ("--group", group, "--registry", f"http://127.0.0.1:{port}", "--format", "json")

    waiting = start(*command)
    assert waiting.stderr is not None
    assert "waiting for the registry, nothing is lost" in waiting.stderr.readline()
    stopped = stop(waiting)
    assert stopped.status == 0, stopped.err
    assert stopped.objects[-1]["seen"] == 0
    assert not any(raw_kafka.committed(kafka, group).values())

    waiting = start(*command)
    assert waiting.stderr is not None
    assert "waiting for the registry" in waiting.stderr.readline()
    with server(way_to_it, port=port):
        assert "the registry answers again" in waiting.stderr.readline()
        until(lambda: len(raw_kafka.read(kafka, f"{topic}-out")) == 10, "the first are filtered")
        # Connections are accepted and nothing comes: the time-out.
        answers_come.clear()
        fill(kafka, topic, [pack(second, body_of(sample_alert("10.0"), "10.0"))] * 5)
        assert "(no answer)" in waiting.stderr.readline()
        answers_come.set()
        until(lambda: len(raw_kafka.read(kafka, f"{topic}-out")) == 15, "the rest is filtered")
    ended = stop(waiting)
    assert ended.status == 0, ended.err
    total = ended.objects[-1] | {"filter": ""}
    assert 0 < total.pop("seconds") * total.pop("alerts_per_second") < 16
    assert total == {
        "filter": "", "visit": None, "seen": 15, "passed": 15, "rejected": 0,
        "capped": 0, "duplicate": 0, "undecodable": 0, "failed": 0, "final": True,
    }  # fmt: skip


def answers(status: int, body: bytes = b"", **headers: str) -> Any:
    return lambda handler: reply(handler, status, body, **headers)


def test_wrong_answers_call_no_message_undecodable(kafka: str, topic: str) -> None:
    fill(kafka, topic, [pack(7, body_of(sample_alert("10.0"), "10.0"))])
    for answer in (answers(404, b"no page"), answers(200, b"<html>"), answers(401)):
        with server(answer) as url:
            how = ("--group", f"of-{topic}", "--registry", url, "--exit-on-eof")
            ended = run("filter", kafka, topic, 1, *how)
            assert ended.status == 1
            assert f"· {url} ·" in ended.err
    assert not any(raw_kafka.committed(kafka, f"of-{topic}").values())
    assert raw_kafka.describe(kafka, f"{topic}-undecodable") is None


def test_asks_again_what_may_pass(registry: RegistryService) -> None:
    number = registry.add("again", official_schema("10.0"))
    refusals = [answers(503), answers(500, b"{}"), answers(429, Retry_After="1")]
    asked: list[float] = []

    def first_refuse(handler: BaseHTTPRequestHandler) -> None:
        asked.append(time.monotonic())
        if refusals:
            refusals.pop(0)(handler)
        else:
            pass_on(handler, registry.url)

    with server(first_refuse) as url:
        assert run("schema", "show", number, "--registry", url).status == 0
    assert len(asked) == 4
    assert asked[3] - asked[2] >= 1, "429 said when"


@pytest.mark.slow
def test_registry_that_stays_away() -> None:
    away = {
        UNREACHABLE: "(Connection refused)",
        "http://no-such-host.invalid/registry": "cannot be reached (",
    }
    begin = time.monotonic()
    with (
        server(lambda handler: time.sleep(30)) as silent,
        server(answers(503, b'{"message": "in the dark"}')) as busy,
    ):
        away |= {silent: "(no answer)", busy: "(503: in the dark)"}
        asked = {url: start("schema", "show", 7, "--registry", url) for url in away}
        for url, what in away.items():
            shown = finish(asked[url], 30)
            assert failed(shown, f"· {url} · "), shown.err
            assert "the schema registry cannot be reached" in shown.err
            assert what in shown.err
            assert time.monotonic() - begin > 2, "it is asked more than once"


def test_password_in_the_address_is_wrong_usage() -> None:
    shown = run("schema", "list", "--registry", "https://ada:correct-horse@h")
    assert (shown.status, shown.out) == (2, "")
    assert shown.err.startswith("error: the registry's URL must not contain a login")
    assert shown.err.count("\n") == 1
    assert "correct-horse" not in shown.err


def test_login(registry: RegistryService, tmp_path: Path) -> None:
    expected = f"Basic {base64.b64encode('ada:correct-horse-ü'.encode()).decode()}"

    def guarded(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers["Authorization"] == expected:
            pass_on(handler, registry.url)
        else:
            reply(handler, 401, b'{"error_code": 401, "message": "Unauthorized"}')

    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("correct-horse-ü\n")
    wrong.write_text("wrong-horse\n")
    for each in (right, wrong):
        each.chmod(0o600)
    with server(guarded) as url:
        how = ("schema", "list", "--registry", url)
        ada = ("--registry-username", "ada")
        let_in = run(*how, *ada, "--registry-password-file", right)
        assert let_in.status == 0, let_in.err
        variable = "ALERTSTREAM_REGISTRY_PASSWORD"
        assert run(*how, *ada, **{variable: "correct-horse-ü"}).status == 0
        for more in (("--registry-password-file", wrong), ()):
            refused = run(*how, *ada, *more, **({} if more else {variable: "wrong-horse"}))
            assert failed(refused, "rejects the login of ada (401)"), refused.err
            assert "wrong-horse" not in refused.err
        assert failed(run(*how), "requires a login (401)")
        assert "needs a password" in run(*how, *ada).err
        missing = run(*how, *ada, "--registry-password-file", tmp_path / "none")
        assert "check --registry-password-file" in missing.err


def test_login_stays_with_its_host(registry: RegistryService) -> None:
    seen: list[str | None] = []

    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers["Authorization"])
        pass_on(handler, registry.url)

    with server(elsewhere) as other:
        here = lambda handler: reply(handler, 307, Location=other + handler.path)  # noqa: E731
        with server(here) as url:
            how = ("--registry", url, "--registry-username", "ada")
            assert run("schema", "list", *how, ALERTSTREAM_REGISTRY_PASSWORD="secret").status == 0
    assert seen
    assert set(seen) == {None}


def test_path_prefix(registry: RegistryService) -> None:
    def only_below(handler: BaseHTTPRequestHandler) -> None:
        prefix, _, handler.path = handler.path.partition("/schema-registry")
        if prefix or not handler.path:
            reply(handler, 404, b"no such page")
        else:
            pass_on(handler, registry.url)

    number = registry.add("prefix", official_schema("10.0"))
    with server(only_below) as url:
        for at in (f"{url}/schema-registry", f"{url}/schema-registry/"):
            assert run("schema", "show", number, "--registry", at).status == 0
        assert failed(run("schema", "list", "--registry", url), "it may need a path")


def test_certificate_that_is_trusted_and_one_that_is_not(
    registry: RegistryService, tmp_path: Path
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    files = {"good": authority, "other": stranger}
    for name, each in files.items():
        each.cert_pem.write_to_path(tmp_path / name)
    (tmp_path / "damaged").write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    (tmp_path / "none").write_text("nothing")
    with server(lambda handler: pass_on(handler, registry.url), context) as url:
        how = ("schema", "list", "--registry", url)
        assert run(*how, "--registry-ca-file", tmp_path / "good").status == 0
        for more in (("--registry-ca-file", tmp_path / "other"), ()):
            assert failed(run(*how, *more), "no secure connection to the schema registry")
        for name in ("damaged", "none", "missing"):
            refused = run(*how, "--registry-ca-file", tmp_path / name)
            assert failed(refused, "--registry-ca-file"), refused.err


def test_schema_that_refers_to_others(kafka: str, topic: str, registry: RegistryService) -> None:
    point = {"type": "record", "name": "a.Point", "fields": [{"name": "x", "type": "double"}]}
    line = {"type": "record", "name": "a.Line", "fields": [
        {"name": "from", "type": "a.Point"}, {"name": "to", "type": "a.Point"}]}  # fmt: skip
    shape = {"type": "record", "name": "a.Shape", "fields": [
        {"name": "centre", "type": ["null", "Point"]}, {"name": "lines", "type": "a.Line"},
        {"name": "visit", "type": "long"}]}  # fmt: skip
    registry.add(f"{topic}-point", point)
    to_point = {"name": "a.Point", "subject": f"{topic}-point", "version": 1}
    registry.add(f"{topic}-line", line, references=[to_point])
    to_line = {"name": "a.Line", "subject": f"{topic}-line", "version": 1}
    number = registry.add(f"{topic}-value", shape, references=[to_line, to_point])
    whole = fastavro.parse_schema([point, line, shape])
    alert = {"centre": {"x": 1.0}, "lines": {"from": {"x": 2.0}, "to": {"x": 3.0}}, "visit": 4}
    body = BytesIO()
    fastavro.schemaless_writer(body, whole, ("a.Shape", alert))
    fill(kafka, topic, [pack(number, body.getvalue()[1:])])
    for _ in range(2):
        how = ("--format", "json", "--exit-on-eof", "--registry", registry.url)
        printed = run("print", kafka, topic, *how)
        assert printed.status == 0, printed.err
        assert [each["alert"] for each in printed.objects] == [alert]


def test_lookups_of_one_id_at_the_same_time_are_one(registry: RegistryService) -> None:
    asked: list[str] = []

    def count(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        pass_on(handler, registry.url)

    number = registry.add("merged", official_schema("10.0"))
    message = pack(number, b"")

    async def look_up(url: str) -> list[bool]:
        schemas = RegistrySchemas(RegistryClient(url))
        ready = [schemas.ready([message, None, b"?"], asyncio.Event()) for _ in range(20)]
        found = await asyncio.gather(*ready)
        assert schemas.by_id(number)["name"] == "lsst.v10_0.alert"
        with pytest.raises(SchemaError, match="not looked up"):
            schemas.by_id(number + 1000)
        return found

    with server(count) as url:
        assert asyncio.run(look_up(url)) == [True] * 20
    assert len(asked) == 1


def test_id_that_becomes_known(registry: RegistryService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alertstream.avro.registry.UNKNOWN_FOR", 0.3)
    number = registry.add("becomes-known", official_schema("10.0"))
    there = False

    def later(handler: BaseHTTPRequestHandler) -> None:
        if there:
            pass_on(handler, registry.url)
        else:
            reply(handler, 404, b'{"error_code": 40403, "message": "not found"}')

    async def look_up(url: str) -> None:
        nonlocal there
        schemas = RegistrySchemas(RegistryClient(url))
        message, stop = [pack(number, b"")], asyncio.Event()
        assert await schemas.ready(message, stop)
        with pytest.raises(SchemaError, match="is unknown to the registry"):
            schemas.by_id(number)
        there = True
        assert await schemas.ready(message, stop)
        with pytest.raises(SchemaError):
            schemas.by_id(number)
        await asyncio.sleep(0.3)
        assert await schemas.ready(message, stop)
        assert schemas.by_id(number)["name"] == "lsst.v10_0.alert"

    with server(later) as url:
        asyncio.run(look_up(url))


def test_register_list_and_show(registry: RegistryService, tmp_path: Path) -> None:
    made = run("schema", "register", registry.url, "9.0")
    assert made.status == 0, made.err
    (line,) = made.lines
    number, subject = line.split()
    assert subject == "lsst.v9_0.alert"
    named = run(
        "schema", "register", registry.url, sample_file("10.0"), "--subject", "alert-packet"
    )
    assert named.status == 0, named.err
    listed = run("schema", "list", "--registry", registry.url)
    assert f"{number:>6}  lsst.v9_0.alert  version 1" in listed.lines
    assert f"{named.lines[0]}  version 1" in listed.lines
    shown = run("schema", "show", number, "--registry", registry.url)
    ours = json.loads(run("schema", "show", "9.0").out)
    assert not differences(parsed(ours), parsed(json.loads(shown.out)))
    version = run("schema", "show", "9.0", "--registry", registry.url)
    assert version.status == 2
    assert "a registry does not know version 9.0" in version.err
    (tmp_path / "bad.avsc").write_text("[]")
    assert failed(run("schema", "register", registry.url, tmp_path / "bad.avsc"), "bad.avsc")
    assert failed(run("schema", "register", registry.url, "99.9"), "unknown schema id 9909")


@pytest.mark.parametrize("name", PAIRS)
def test_verdicts_are_those_of_the_registry(name: str, registry: RegistryService) -> None:
    new, old, why = PAIRS[name]
    assert bool(obstacles(parsed(new), parsed(old))) is (why is not None)
    subject = f"verdict-{name.replace(' ', '-')}"
    registry.add(subject, old)
    ask("PUT", f"{registry.url}/config/{subject}", {"compatibility": "FORWARD_TRANSITIVE"})
    url = f"{registry.url}/compatibility/subjects/{subject}/versions/latest"
    verdict = ask("POST", url, {"schema": json.dumps(new)})
    assert verdict == {"is_compatible": why is None}


def test_check_tells_which_and_why(tmp_path: Path) -> None:
    checked = run("schema", "check", "10.0", "9.0", "8.0", sample_file("10.0"))
    assert checked.status == 1
    assert checked.lines[0] == "9.0: can read data written with 10.0"
    assert checked.lines[1] == "8.0: cannot read data written with 10.0"
    assert checked.lines[2].startswith("  diaSource.time_processed: is missing")
    assert checked.lines[-1].endswith("fakeAlert.avro: can read data written with 10.0")
    assert run("schema", "check", "10.0", "9.0").status == 0
    assert run("schema", "check", "10.0").status == 2


def test_diff_of_files(tmp_path: Path) -> None:
    old = schema({"name": "a", "type": "int"}, {"name": "b", "type": "int", "default": 1}, INNER)
    new = schema(
        {"name": "b", "type": ["null", "long"], "default": None},
        {"name": "d", "type": schema({"name": "z", "type": "float", "default": 0.5}, name="n.D")},
    )
    for name, each in (("old", old), ("new", new)):
        (tmp_path / f"{name}.avsc").write_text(json.dumps(each))
    shown = run("schema", "diff", tmp_path / "old.avsc", tmp_path / "new.avsc")
    assert shown.status == 0
    assert shown.lines == [
        "- a: int",
        "- d.y: int",
        "~ b: type int → null | long",
        "~ b: default 1 → null",
        "+ d.z: float, default 0.5",
    ]
    assert run("schema", "diff", "10.0", "10.0").out == ""


def test_example_of_the_help_works(registry: RegistryService) -> None:
    given = help_example("schema register")
    assert "http://localhost:8081/apis/ccompat/v7" in given
    ended = run(*(registry.url if each.startswith("http:") else each for each in given))
    assert ended.status == 0, ended.err
    assert "lsst.v10_0.alert" in ended.out
