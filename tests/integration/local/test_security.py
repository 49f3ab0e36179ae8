"""Who is let in, who is not, and that each learns why: against real secure brokers."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import raw_kafka
from tests.support.commands import Finished, one_error, run, start
from tests.support.credentials import USERS, Files
from tests.support.processes import LOOPBACK, inside, listens_on
from tests.support.registry_service import RegistryService
from tests.support.secure_kafka import (
    Right,
    admin,
    broker,
    secured,
    server,
    topics_and_groups,
)

RIGHTS: list[Right] = [
    ("ada", "read", "topic", "alerts"),
    ("ada", "read", "topic", "simulated"),
    ("ada", "read", "group", "ada*"),
    ("viewer", "describe", "topic", "alerts"),
    ("writer", "read", "topic", "alerts"),
    ("writer", "write", "topic", "own"),
    ("writer", "create,describe", "topic", "Filter001"),
    ("writer", "create,describe,read,write", "topic", "writer-exactly*"),
    ("writer", "create,describe,read,write", "topic", "writer-2*"),
    ("writer", "read", "group", "writer*"),
    ("writer", "write", "transactional-id", "writer-exactly*"),
]
LIMIT = 12
"""Seconds in which who is not let in must know why."""


@dataclass
class Secure:
    """The secure broker: its address for clients, and those that are for its nodes alone."""

    address: str
    nodes: str
    controller: str


@pytest.fixture(scope="module")
def secure(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A broker with users and rights, and a topic that its first user has sent."""
    folder = tmp_path_factory.mktemp("secure")
    with broker(folder, "--data-dir", folder, *secured(files, RIGHTS)) as address:
        assert sent(address, files, "admin", "alerts").status == 0
        properties = (folder / "node-1" / "server.properties").read_text()
        own = dict(re.findall(r"(NODES|CONTROLLER)://([\d.:]+)", properties))
        yield Secure(address, own["NODES"], own["CONTROLLER"])


def as_user(files: Files, name: str, *more: object) -> tuple[object, ...]:
    """The options of a user, which those in ``more`` come before."""
    return (
        *("--security-protocol", "SASL_SSL", "--ca-file", files / "ca.pem"),
        *("--username", name, "--password-file", files / f"{name}.password", *more),
    )


def sent(address: str, files: Files, user: str, topic: str, *more: object) -> Finished:
    how = ("--interval", 0, "--limit", 2, *as_user(files, user, *more))
    return run("send", address, topic, *how, limit=LIMIT)


def printed(address: str, topic: str, *more: object, **environment: str) -> Finished:
    return run("print", address, topic, "--exit-on-eof", *more, limit=LIMIT, **environment)


def says(ended: Finished, *words: str, status: int = 1) -> None:
    """The command has failed with one line of error, that has all of these words."""
    assert ended.status == status, ended
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(set(errors)) == 1, ended.err
    assert [word for word in words if word not in errors[0]] == [], errors[0]


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
def test_users_are_let_in(secure: Secure, files: Files, mechanism: str) -> None:
    for name in ("admin", "ada"):
        how = as_user(files, name, "--sasl-mechanism", mechanism)
        read = printed(secure.address, "alerts", *how)
        assert (read.status, len(read.lines)) == (0, 9), read.err
        assert "8 read = 8 printed" in read.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--password-file", "wrong.password"), ("user ada with this password", "SCRAM-SHA-512")),
        (
            ("--password-file", "wrong.password", "--sasl-mechanism", "PLAIN"),
            ("user ada with this password", "--sasl-mechanism (PLAIN)"),
        ),
        (("--username", "eve"), ("user eve with this password", "--username")),
        (("--ca-file", "stranger.pem"), ("certificate is not trusted", "--ca-file")),
        (("--security-protocol", "PLAINTEXT"), ("the broker expects TLS", "SASL_SSL")),
        (("--security-protocol", "SASL_PLAINTEXT"), ("the broker expects TLS", "SASL_SSL")),
        (
            ("--security-protocol", "SSL"),
            ("expects a user name and password", "--security-protocol SASL_SSL"),
        ),
    ],
)
def test_who_is_not_let_in_learns_why(
    secure: Secure, files: Files, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    given = [files / each if (files / each).exists() else each for each in options]
    says(printed(secure.address, "alerts", *as_user(files, "ada", *given)), *words)


def test_the_systems_authorities_do_not_know_it(secure: Secure, files: Files) -> None:
    how = ("--username", "ada", "--password-file", files / "ada.password")
    ended = printed(secure.address, "alerts", "--security-protocol", "SASL_SSL", *how)
    one_error(ended, "certificate is not trusted", "--ca-file")


def test_a_certificate_for_another_name(secure: Secure, files: Files) -> None:
    address = secure.address.replace("127.0.0.1", "localhost")
    ended = printed(address, "alerts", *as_user(files, "ada"))
    one_error(ended, "Hostname mismatch", "'localhost', but for 127.0.0.1", "BROKER")


def test_a_mechanism_that_is_not_offered(secure: Secure, files: Files) -> None:
    how = as_user(files, "ada", "--security-protocol", "SASL_PLAINTEXT")
    says(printed(secure.nodes, "alerts", *how), "does not offer the mechanism SCRAM-SHA-512")


def test_the_nodes_let_in_nobody_else(secure: Secure, files: Files) -> None:
    how = ("--security-protocol", "SASL_PLAINTEXT", "--sasl-mechanism", "PLAIN")
    one_error(printed(secure.nodes, "alerts"), "expects a user name", "SASL_PLAINTEXT")
    for address in (secure.nodes, secure.controller):
        for name in ("admin", "alertstream-node"):
            ended = printed(address, "alerts", *as_user(files, "admin", *how, "--username", name))
            says(ended, f"user {name} with this password")


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("SSL", "it ends the connection when TLS begins"),
        ("SASL_SSL", "it ends the connection when TLS begins"),
        ("SASL_PLAINTEXT", "the broker expects no user name"),
    ],
)
def test_a_broker_that_lets_everybody_in(
    kafka: str, files: Files, protocol: str, words: str
) -> None:
    how = as_user(files, "ada", "--security-protocol", protocol)
    says(printed(kafka, "alerts", *how), words, "--security-protocol")


@pytest.mark.parametrize(
    ("command", "user", "words"),
    [
        ("print {} nothing --exit-on-eof", "ada", "no topic nothing, or no right to see it"),
        ("print {} alerts --exit-on-eof", "nobody", "no topic alerts, or no right to see it"),
        ("print {} alerts --exit-on-eof", "viewer", "no right to use the topic alerts"),
        ("monitor {} alerts --exit-on-eof --format json", "viewer", "right to use the topic alert"),
        ("print {} alerts --exit-on-eof --group mine", "ada", "group mine|the user's name"),
        ("print {} alerts --group mine --from latest", "ada", "group mine|the user's name"),
        ("send {} alerts --interval 0 --limit 2", "ada", "right to write to any topic|Write on"),
        ("send {} alerts --interval 0 --limit 2", "writer", "no right to use the topic alerts"),
        ("send {} new --interval 0 --limit 2", "writer", "no right to use the topic new"),
        ("filter {} alerts 2 --exit-on-eof", "writer", "no right to use the topic Filter002"),
        (
            "filter {} alerts 1 --exit-on-eof",
            "writer",
            "transactional id filter-alerts|--delivery at-least-once",
        ),
        (
            "filter {} alerts 1 --exit-on-eof --delivery at-least-once",
            "writer",
            "the group filter-alerts|the user's name",
        ),
        (
            "filter {} alerts 1 --exit-on-eof --group writer-exactly",
            "writer",
            "no right to use the topic Filter001",
        ),
        (
            "filter {} alerts 1 --exit-on-eof --group writer-2 --delivery at-least-once",
            "writer",
            "no right to use the topic Filter001",
        ),
        (
            "filter {} alerts 1 --exit-on-eof --group writer-3 --delivery at-least-once",
            "writer",
            "no right to use the topic writer-3-visit-caps",
        ),
    ],
)
def test_who_lacks_a_right_learns_which(
    secure: Secure, files: Files, command: str, user: str, words: str
) -> None:
    how = as_user(files, user)
    ended = run(*command.format(secure.address).split(), *how, limit=LIMIT)
    says(ended, *words.split("|"))


def test_who_has_the_rights_needs_no_more(secure: Secure, files: Files) -> None:
    own = printed(secure.address, "alerts", "--group", "ada-1", *as_user(files, "ada"))
    assert own.status == 0, own.err


@pytest.fixture(scope="module")
def mutual(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker that wants certificates of its clients."""
    how = ("--security-protocol", "SSL", *server(files), "--ca-file", files / "ca.pem")
    with broker(tmp_path_factory.mktemp("mutual"), *how) as address:
        yield address


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (None, ("it requires a certificate from the client", "--cert-file")),
        ("intruder", ("does not accept the client's certificate", "--cert-file")),
        ("client", ()),
    ],
)
def test_clients_with_certificates(
    mutual: str, files: Files, name: str | None, words: tuple[str, ...]
) -> None:
    own = ("--cert-file", files / f"{name}.pem", "--key-file", files / f"{name}.key")
    how = ("--security-protocol", "SSL", "--ca-file", files / "ca.pem", *(own if name else ()))
    ended = run("send", mutual, "alerts", "--interval", 0, "--limit", 1, *how, limit=LIMIT)
    if words:
        one_error(ended, *words)
    else:
        assert ended.status == 0, ended.err
        assert printed(mutual, "alerts", *how).status == 0


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_a_password_is_in_no_log(secure: Secure, files: Files, mechanism: str) -> None:
    for name in ("ada", "wrong"):
        password = files / f"{name}.password"
        how = as_user(files, "ada", "--sasl-mechanism", mechanism, "--password-file", password)
        process = start("--debug", "print", secure.address, "alerts", "--exit-on-eof", *how)
        out, err = process.communicate(timeout=LIMIT)
        assert process.returncode == (0 if name == "ada" else 1)
        # What is said there would be seen.
        assert "SaslHandShakeRequest" in err
        assert "SaslAuthenticate" not in err
        assert password.read_text().strip() not in out + err


def test_no_password_in_kafkas_log(secure: Secure, files: Files) -> None:
    folder = next(files.folder.parent.glob("secure*"))
    properties = (folder / "node-1" / "server.properties").read_text()
    (secret,) = set(re.findall(r'user_alertstream-node\\"=\\"([^\\]+)', properties))
    log = (folder / "kafka.log").read_text()
    assert [each for each in (secret, USERS["ada"]) if each in log] == []
    private = [folder / "node-1" / "server.properties"]
    assert [path.stat().st_mode & 0o777 for path in private] == [0o600]


class TestPasswords:
    """Where a password may be."""

    @pytest.fixture
    def ask(self, secure: Secure, files: Files) -> Callable[..., Finished]:
        def ask(*options: object, **environment: str) -> Finished:
            how = ("--security-protocol", "SASL_SSL", "--ca-file", files / "ca.pem")
            given = (*how, "--username", "ada", *options)
            return printed(secure.address, "alerts", *given, **environment)

        return ask

    def test_in_a_file_or_the_environment(
        self, ask: Callable[..., Finished], files: Files, tmp_path: Path
    ) -> None:
        right, wrong = files / "ada.password", files / "wrong.password"
        assert ask("--password-file", right, ALERTSTREAM_PASSWORD="wrong").status == 0
        assert ask(ALERTSTREAM_PASSWORD=USERS["ada"]).status == 0
        config = tmp_path / "config.toml"
        config.write_text(f"password_file = '{wrong}'\n")
        found = {"ALERTSTREAM_CONFIG": str(config), "ALERTSTREAM_PASSWORD": USERS["ada"]}
        assert ask(**found).status == 0

    def test_in_the_configuration_file(self, ask: Callable[..., Finished], tmp_path: Path) -> None:
        config = tmp_path / "config.toml"
        config.write_text(f"password = '{USERS['ada']}'\n[send]\npassword = 'another'\n")
        config.chmod(0o600)
        read = ask("--config", config)
        assert (read.status, "warning" in read.err) == (0, False), read.err
        config.chmod(0o644)
        read = ask("--config", config)
        assert read.status == 0
        assert f"warning: others can read the secrets in it · {config} · chmod 600 " in read.err

    def test_in_a_file_that_others_can_read(
        self, ask: Callable[..., Finished], tmp_path: Path
    ) -> None:
        password = tmp_path / "password"
        password.write_text(USERS["ada"])
        password.chmod(0o640)
        read = ask("--password-file", password)
        assert read.status == 0
        assert f"{password} · chmod 600 {password}" in read.err


@pytest.mark.slow
def test_three_nodes_that_listen_on_this_machine_only(files: Files, tmp_path: Path) -> None:
    how = ("--security-protocol", "SASL_PLAINTEXT", "--users", files / "users", "--nodes", 3)
    with broker(tmp_path, *how) as address:
        running = [pid for pid, name in inside(tmp_path).items() if name == "java"]
        assert len(running) == 3
        for pid in running:
            listening = listens_on(pid)
            assert len(listening) == 3
            assert set(listening) <= LOOPBACK
        clear = ("--security-protocol", "SASL_PLAINTEXT")
        assert sent(address, files, "admin", "alerts", *clear).status == 0
        for node in address.split(","):
            denied = printed(node, "alerts", *as_user(files, "ada", *clear))
            says(denied, "no topic alerts, or no right to see it")


@pytest.mark.slow
def test_users_change_from_start_to_start(files: Files, tmp_path: Path) -> None:
    users = files.write("changing", "boss:first-password\nguest:guest-password\n")
    how = ("--security-protocol", "SASL_PLAINTEXT", "--users", users, "--data-dir", tmp_path)

    def as_(name: str, password: str, address: str) -> Finished:
        given = ("--security-protocol", "SASL_PLAINTEXT", "--username", name)
        return printed(address, "alerts", *given, ALERTSTREAM_PASSWORD=password)

    with command_lines(tmp_path) as seen, broker(tmp_path, "--debug", *how) as address:
        says(as_("boss", "first-password", address), "no topic alerts")
        says(as_("guest", "guest-password", address), "no topic alerts")
    assert "kafka.tools.StorageTool" in seen[0]
    files.write("changing", "boss:second-password\n")
    with command_lines(tmp_path) as seen, broker(tmp_path, *how) as address:
        says(as_("boss", "second-password", address), "no topic alerts")
        says(as_("boss", "first-password", address), "user boss with this password")
        says(as_("guest", "guest-password", address), "user guest with this password")
    assert "kafka.admin.ConfigCommand" in seen[0]
    with command_lines(tmp_path) as seen, broker(tmp_path, *how) as address:
        says(as_("boss", "second-password", address), "no topic alerts")
    assert "kafka.admin.ConfigCommand" not in seen[0]
    assert (tmp_path / "users.json").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob(".tool-*"))
    log = (tmp_path / "kafka.log").read_text()
    assert [word for word in ("first-", "second-", "guest-") if f"{word}password" in log] == []


@pytest.mark.slow
def test_rights_change_from_start_to_start(files: Files, tmp_path: Path) -> None:
    clear = ("--security-protocol", "SASL_PLAINTEXT")
    acl = files.write("rights", "# who may do what\nada read,describe-configs topic al*  # all\n")
    how = (*clear, "--users", files / "users", "--data-dir", tmp_path, "--acl", acl)
    with broker(tmp_path, *how) as address:
        assert sent(address, files, "admin", "alerts", *clear).status == 0
        read = printed(address, "alerts", *as_user(files, "ada", *clear))
        assert (read.status, len(read.lines)) == (0, 9), read.err
    files.write("rights", "ada describe topic alerts\nada read group ada-*\n")
    with broker(tmp_path, *how) as address:
        says(printed(address, "alerts", *as_user(files, "ada", *clear)), "no right to use")
    (tmp_path / "mine.txt").write_text("not Kafka's")
    with broker(tmp_path, *how, "--reset") as address:
        says(printed(address, "alerts", *as_user(files, "admin", *clear)), "no topic alerts")
    assert (tmp_path / "mine.txt").exists()


@contextmanager
def command_lines(folder: Path) -> Iterator[list[str]]:
    """Collect what everybody sees of the programs that work in a folder: no passwords."""
    lines: set[bytes] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            for pid in inside(folder):
                # It may end while we look.
                with suppress(OSError):
                    lines.add(Path(f"/proc/{pid}/cmdline").read_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    found: list[str] = []
    try:
        yield found
    finally:
        ended.set()
        thread.join()
    found.append(b"\n".join(lines).decode())
    assert "password=" not in found[0]
    assert "-password" not in found[0].replace("--password", "")


class TestProfile:
    """A stream as Rubin's: SCRAM, groups that begin with the user's name, a registry."""

    @pytest.fixture
    def ask(
        self, secure: Secure, files: Files, registry: RegistryService, tmp_path: Path
    ) -> Callable[..., Finished]:
        """Runs a command with the profile ``stream``, or another."""
        config = tmp_path / "config.toml"
        config.write_text(
            f"""
            exit_on_eof = true
            [profiles.stream]
            broker = "{secure.address}"
            security_protocol = "SASL_SSL"
            ca_file = "{files / "ca.pem"}"
            username = "ada"
            password_file = "{files / "ada.password"}"
            group_prefix = "ada-"
            registry = "{registry.url}"
            """
        )

        def ask(*arguments: object, profile: str = "stream") -> Finished:
            found = {"ALERTSTREAM_CONFIG": str(config), "XDG_CACHE_HOME": str(tmp_path)}
            return run(*arguments, "--profile", profile, limit=LIMIT, **found)

        return ask

    def test_reads_with_nothing_but_the_topic(
        self, ask: Callable[..., Finished], files: Files
    ) -> None:
        admin = ("--username", "admin", "--password-file", files / "admin.password")
        sent = ask("send", "simulated", "--interval", 0, "--limit", 2, *admin)
        assert sent.status == 0, sent.err
        assert "simulated-value" in ask("schema", "list").out
        for group in ((), ("--group", "ada-mine")):
            read = ask("print", "simulated", *group)
            assert read.status == 0, read.err
            assert "8 read = 8 printed" in read.err

    def test_group_that_the_stream_would_refuse(self, ask: Callable[..., Finished]) -> None:
        read = ask("print", "simulated", "--group", "mine")
        says(read, "the group mine does not begin with ada-", "--group ada-mine", status=2)

    def test_another_broker(self, ask: Callable[..., Finished]) -> None:
        says(ask("print", "simulated", "--broker", "127.0.0.1:1"), "127.0.0.1:1", "reached")

    def test_another_profile(self, ask: Callable[..., Finished]) -> None:
        says(ask("print", "alerts", profile="rubbin"), "no profile rubbin", "stream", status=2)

    def test_doctor_says_which_right_is_missing(
        self, ask: Callable[..., Finished], files: Files
    ) -> None:
        well = ask("doctor", "simulated", "--group", "ada-mine")
        assert (well.status, well.err) == (0, ""), well.out
        assert "with TLS, as ada by SCRAM-SHA-512" in well.out
        (rights,) = (line for line in well.lines if line.startswith("-   writing"))
        assert "no right to write" in rights
        assert "alertstream filter simulated --group ada-mine --profile stream 1-3 --to" in rights
        wrong = ask("doctor", "simulated", "--password-file", files / "wrong.password")
        assert wrong.status == 1
        assert "BAD Kafka" in wrong.out
        assert "user ada with this password" in wrong.out

    def test_filter_to_another_kafka(
        self, ask: Callable[..., Finished], secure: Secure, files: Files, kafka: str
    ) -> None:
        sender = ("--username", "admin", "--password-file", files / "admin.password")
        assert ask("send", "simulated", "--interval", 0, "--limit", 2, *sender).status == 0
        before = asyncio.run(topics_and_groups(admin(secure.address, files)))
        how = ("--to", kafka, "--group", "ada-remote", "--cap", 0)
        which = ("--where", "source_id > 0", "--output", "from-afar")
        refused = ask("filter", "simulated", *which, "--group", "ada-remote")
        says(refused, "no right to use the topic from-afar", secure.address, "--to HOST:PORT")
        filtered = ask("filter", "simulated", *which, *how)
        assert filtered.status == 0, filtered.err
        again = ask("filter", "simulated", *which, *how)
        assert "0 seen = 0 passed" in again.out
        mirrored = ask("filter", "simulated", "--all", "--to", kafka)
        assert (
            f"simulated  all visits: {len(raw_kafka.read(kafka, 'simulated'))} seen"
            in (mirrored.lines[-1])
        ), mirrored.err
        source, copies = ask("print", "simulated"), raw_kafka.read(kafka, "from-afar")
        assert len(copies) == len(source.out.splitlines()) - 1 > 0
        assert len({dict(each.headers)["alertstream.origin"] for each in copies}) == len(copies)
        assert ask("send", "simulated", "--interval", 0, "--limit", 1, *sender).status == 0
        watched = ask("monitor", "simulated", "--to", kafka, "--format", "json").objects[-1]
        assert watched["groups"]["ada-remote"] == {"simulated": 4}
        assert "--to 127.0" not in (examined := ask("doctor", "simulated", "--to", kafka)).out
        assert "ok  group       names that begin with ada- can be used" in examined.lines
        assert "-   writing     no right to write, nor is it needed with --to" in examined.lines
        assert "ok  to: writing topics can be made, or written" in examined.lines
        assert asyncio.run(topics_and_groups(admin(secure.address, files))) == before

    def test_errors_of_the_kafka_that_is_written_to(
        self, ask: Callable[..., Finished], secure: Secure, kafka: str, tmp_path: Path
    ) -> None:
        """Two profiles, each with its own security; each error names its own Kafka."""
        with (tmp_path / "config.toml").open("a") as config:
            mine = (tmp_path / "config.toml").read_text().partition("[profiles.stream]")[2]
            home = mine.replace('"ada', '"writer').replace("/ada", "/writer")
            config.write(f'[profiles.home]{home}\n[profiles.open]\nbroker = "{kafka}"\n')
        raw_kafka.make(kafka, "writer-2")
        how = ("--where", "snr > 5", "--output", "writer-2-out", "--delivery", "at-least-once")
        filtering = ("filter", "writer-2", *how, "--group", "not-mine", "--to", "home")
        says(ask(*filtering, profile="open"), "no right to use the group not-mine", secure.address)
