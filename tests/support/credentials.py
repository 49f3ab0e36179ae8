"""Users, passwords and certificates, in files as commands take them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization as pem

USERS = {
    "admin": 'a"d\\min: ü',
    "ada": "lovelace-1815",
    "viewer": "views-only-42",
    "writer": "writes-own-42",
    "nobody": "has-no-rights-42",
}
"""The first may do everything, the others what ``RIGHTS`` says."""


@dataclass
class Files:
    """Certificates and passwords in a folder."""

    folder: Path

    def __post_init__(self) -> None:
        self.authority = self._authority("ca")
        self.stranger = self._authority("stranger")
        self.issue(self.authority, "server", "127.0.0.1")
        self.issue(self.authority, "client", "client.example")
        self.issue(self.stranger, "intruder", "client.example")
        self.write("users", "".join(f"{name}:{word}\n" for name, word in USERS.items()))
        for name, word in USERS.items():
            self.write(f"{name}.password", f"{word}\n")
        self.write("wrong.password", "not-the-password")

    def _authority(self, name: str) -> trustme.CA:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self / f"{name}.pem"))
        return authority

    def issue(self, authority: trustme.CA, name: str, host: str) -> None:
        """Certificate and key in files of their own, the latter as PKCS#8 and as trustme has it."""
        issued = authority.issue_cert(host)
        self.write(f"{name}.pem", issued.cert_chain_pems[0].bytes().decode())
        self.write(f"{name}.old-key", issued.private_key_pem.bytes().decode())
        self.write(f"{name}.key", pkcs8(issued, pem.NoEncryption()))

    def write(self, name: str, text: str) -> Path:
        (self / name).write_text(text)
        (self / name).chmod(0o600)
        return self / name

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


def pkcs8(issued: trustme.LeafCert, encryption: pem.KeySerializationEncryption) -> str:
    key = pem.load_pem_private_key(issued.private_key_pem.bytes(), None)
    return key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, encryption).decode()
