"""Options of secure connections and clusters that are refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as pem
from tests.support.commands import Finished, one_error, run
from tests.support.credentials import Files, pkcs8

LIMIT = 12
"""Seconds in which all has to be reported."""


def printed(*options: object, **environment: str) -> Finished:
    how = ("print", "127.0.0.1:1", "alerts", "--exit-on-eof")
    return run(*how, *options, limit=LIMIT, **environment)


@pytest.mark.parametrize(
    ("options", "words", "status"),
    [
        ("--ca-file users", "there is no certificate in the file|users|--ca-file", 1),
        ("--ca-file nothing", "cannot be read (No such file or directory)|--ca-file", 1),
        ("--ca-file damaged.pem", "the certificate in the file is damaged|damaged.pem", 1),
        ("--ca-file der.pem", "there is no certificate in the file|der.pem|PEM", 1),
        ("--cert-file users", "there is no certificate in the file|--cert-file", 1),
        ("--cert-file client.pem", "there is no key in the file|client.pem|--key-file", 1),
        ("--cert-file client.pem --key-file ca.pem", "there is no key in the file|ca.pem", 1),
        ("--cert-file client.pem --key-file server.key", "key does not belong to the cert", 1),
        ("--cert-file client.pem --key-file locked.key", "the key is encrypted|openssl", 1),
        ("--key-file client.key", "--cert-file", 2),
    ],
)
def test_certificates_that_will_not_do(files: Files, options: str, words: str, status: int) -> None:
    text = (files / "ca.pem").read_text()
    files.write("damaged.pem", text.replace("M", "N"))
    (files / "der.pem").write_bytes(b"0\x82\x01\xff\xfe")
    locked = pem.BestAvailableEncryption(b"a passphrase")
    files.write("locked.key", pkcs8(files.authority.issue_cert("x.example"), locked))
    given = [word if word.startswith("--") else files / word for word in options.split()]
    ended = printed("--security-protocol", "SSL", *given)
    one_error(ended, *words.split("|"), status=status)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the password file is empty"),
        (b"\n", "the password file is empty"),
        (b"\xff\xfe", "the password file cannot be read (not text)"),
        (None, "the password file cannot be read (No such file or directory)"),
    ],
)
def test_password_files_that_will_not_do(tmp_path: Path, content: bytes | None, words: str) -> None:
    password = tmp_path / "password"
    if content is not None:
        password.write_bytes(content)
    how = ("--security-protocol", "SASL_SSL", "--username", "ada", "--password-file", password)
    one_error(printed(*how), words, str(password), status=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--password", "secret"), "No such option: --password"),
        (("--security-protocol", "SASL_SSL"), "needs a user name"),
        (("--security-protocol", "SASL_SSL", "--username", "ada"), "needs a password"),
        (
            ("--security-protocol", "TLS"),
            "not one of 'plaintext', 'ssl', 'sasl_plaintext', 'sasl_ssl'",
        ),
        (
            ("--sasl-mechanism", "GSSAPI"),
            "not one of 'plain', 'scram-sha-256', 'scram-sha-512'",
        ),
    ],
)
def test_wrong_usage(options: tuple[str, ...], words: str) -> None:
    ended = printed(*options)
    one_error(ended, words, status=2)
    assert "secret" not in ended.err


def test_what_is_given_but_not_used(files: Files) -> None:
    ended = printed("--ca-file", files / "ca.pem", "--username", "ada")
    assert "user name and password are not used with PLAINTEXT" in ended.err
    assert "certificates are not used with PLAINTEXT" in ended.err
    ended = printed(ALERTSTREAM_PASSWORD="secret-1")
    assert "user name and password are not used with PLAINTEXT" in ended.err
    assert "secret-1" not in ended.err


@pytest.mark.parametrize(
    ("options", "words", "status"),
    [
        ("--security-protocol TLS", "not one of 'plaintext', 'ssl'", 2),
        ("--security-protocol SSL", "SSL needs a certificate|--cert-file", 2),
        ("--security-protocol SASL_PLAINTEXT", "SASL_PLAINTEXT needs users|--users", 2),
        ("--users users", "PLAINTEXT has no users|SASL_SSL", 2),
        ("--cert-file server.pem", "PLAINTEXT has no certificates", 2),
        (
            "--security-protocol SSL --cert-file server.pem --key-file server.old-key",
            "PKCS#8|openssl pkcs8 -topk8",
            1,
        ),
        (
            "--security-protocol SSL --cert-file server.pem --key-file client.key",
            "the key does not belong to the certificate",
            1,
        ),
        (
            "--security-protocol SSL --cert-file server.pem --key-file server.key --ca-file users",
            "there is no certificate in the file|--ca-file",
            1,
        ),
        ("--security-protocol SASL_PLAINTEXT --users nothing", "users' file cannot be read", 1),
    ],
)
def test_a_broker_that_cannot_be_secure(
    files: Files, options: str, words: str, status: int
) -> None:
    given = [
        files / each if "." in each or each in ("users", "nothing") else each
        for each in options.split()
    ]
    ended = run("broker", "--port", 0, *given, limit=LIMIT)
    one_error(ended, *words.split("|"), status=status)


def test_a_users_file_that_others_can_read(files: Files) -> None:
    users = files.write("open-users", "ada:secret-1")
    users.chmod(0o644)
    how = ("--security-protocol", "SASL_SSL", "--cert-file", files / "users", "--users", users)
    ended = run("broker", "--port", 0, *how, limit=LIMIT)
    assert ended.status == 1
    assert f"{users} · chmod 600 {users}" in ended.err
    assert "secret-1" not in ended.err
