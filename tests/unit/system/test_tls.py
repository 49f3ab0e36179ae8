"""Which certificates a client trusts."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from alertstream.errors import SecurityError
from alertstream.kafka.connection import Connection
from alertstream.system.tls import client_context


def test_a_file_of_certificates_replaces_the_systems(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    for_kafka = Connection("localhost", "SSL", ca_file=path).settings()["ssl_context"]
    for context in (client_context(path, "--registry-ca-file"), for_kafka):
        assert len(context.get_ca_certs()) == 1
        assert context.check_hostname
    assert len(client_context(None).get_ca_certs()) != 1


def test_a_file_that_is_no_certificate_says_so(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(SecurityError, match="damaged"):
        client_context(path)
