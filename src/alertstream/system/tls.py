"""TLS: certificates and keys, what is wrong with them, and what refused handshakes mean."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from alertstream.errors import SecurityError

CERTIFICATE, KEY = "CERTIFICATE-----", "PRIVATE KEY-----"
WRONG_NAME = (62, 64)
"""OpenSSL's codes for a certificate that is not for this host, or not for this IP address."""
EXPIRED = 10
NO_TLS = (
    "it ends the connection when TLS begins",
    "check --security-protocol (PLAINTEXT and SASL_PLAINTEXT are without TLS) and the port",
)
CERTIFICATE_TIMEOUT = 2.0
"""Seconds to get a server's certificate."""


def read_pem(path: Path, kind: str, option: str) -> str:
    """Return the text of a PEM file.

    :param kind: what it must hold: ``CERTIFICATE`` or ``KEY``.
    :param option: the command line's option that names the file.
    :raises SecurityError: it cannot be read, or holds nothing of the kind.
    """
    what = "certificate" if kind == CERTIFICATE else "key"
    try:
        text = path.read_text(encoding="ascii")
    except OSError as error:
        raise SecurityError(
            f"the file with the {what} cannot be read ({error.strerror})",
            where=str(path),
            todo=f"check {option}",
        ) from error
    except UnicodeDecodeError:
        text = ""
    if kind not in text:
        raise SecurityError(
            f"there is no {what} in the file",
            where=str(path),
            todo=f"give {option} a PEM file: text, with a line -----BEGIN … {kind}",
        )
    return text


def client_context(ca_file: Path | None, option: str = "--ca-file") -> ssl.SSLContext:
    """Return a client's context, which trusts the certificates of a file, or else the system's.

    :param option: the command line's option that names the file.
    :raises SecurityError: the file cannot be used.
    """
    if ca_file:
        # Only for its errors, which say what is wrong with the file.
        trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ca_file, option)
    return ssl.create_default_context(cafile=ca_file)


def trust(context: ssl.SSLContext, ca_file: Path, option: str = "--ca-file") -> None:
    """Have a context trust the certificates of a file.

    :param option: the command line's option that names the file.
    :raises SecurityError: the file cannot be used.
    """
    read_pem(ca_file, CERTIFICATE, option)
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise _damaged("certificate", ca_file, option, error) from error


def identify(context: ssl.SSLContext, cert_file: Path, key_file: Path | None) -> None:
    """Have a context show a certificate; its key may be in the same file.

    :raises SecurityError: a file cannot be used, or they do not belong together.
    """
    key_in, option = (key_file, "--key-file") if key_file else (cert_file, "--cert-file")
    read_pem(cert_file, CERTIFICATE, "--cert-file")
    read_pem(key_in, KEY, "--key-file")

    def passphrase() -> NoReturn:
        raise SecurityError(
            "the key is encrypted",
            where=str(key_in),
            todo=f"store it without a passphrase: openssl pkcs8 -topk8 -nocrypt -in {key_in} "
            "-out NEW.key && chmod 600 NEW.key",
        )

    try:
        context.load_cert_chain(cert_file, key_file, password=passphrase)
    except ssl.SSLError as error:
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            raise SecurityError(
                "the key does not belong to the certificate",
                where=f"{cert_file}, {key_in}",
                todo="check --cert-file and --key-file",
            ) from error
        raise _damaged("certificate or key", key_in, option, error) from error


def _damaged(what: str, path: Path, option: str, error: ssl.SSLError) -> SecurityError:
    return SecurityError(
        f"the {what} in the file is damaged ({error.reason or error})",
        where=str(path),
        todo=f"check {option}",
    )


async def certificate_names(host: str, port: int, ca_file: Path | None) -> list[str]:
    """Return the names and addresses that a server's certificate is for, none if it is unknown."""
    context = client_context(ca_file)
    context.check_hostname = False
    # The server has failed before: whatever happens now, there is an error to report already.
    with suppress(OSError):
        async with asyncio.timeout(CERTIFICATE_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
        certificate = writer.get_extra_info("peercert") or {}
        writer.transport.abort()
        return [str(each[1]) for each in certificate.get("subjectAltName", ())]
    return []


def refusal(error: ssl.SSLError) -> tuple[str, str]:
    """Return what an error of TLS means, and what can be done about it."""
    reason = error.reason or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        todo = "give --ca-file the certificate of the authority that has signed it"
        if error.verify_code == EXPIRED:
            todo = "ask the operators of the broker for a new one"
        return f"its certificate is not trusted: {error.verify_message}", todo
    if "CERTIFICATE_REQUIRED" in reason:
        return "it requires a certificate from the client", "give --cert-file and --key-file"
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return f"it does not accept the client's certificate ({reason})", (
            "check --cert-file: is it signed by an authority that the broker trusts, and valid?"
        )
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return NO_TLS
    return f"TLS fails ({reason})", "check --security-protocol, --cert-file and --key-file"
