"""A consumer's name in its group that stays the same across restarts, by lock files."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from uuid import getnode, uuid4

from alertstream.system.files import locked

MAX_INSTANCES = 1000
"""Processes of a group on one machine that get permanent names."""


@contextmanager
def instance_name(group: str) -> Iterator[str]:
    """Give a name for this process in a consumer group, the same after a restart.

    The first process of the group on this machine has number 0, a second one at the same time 1.
    A lock file, which the system releases even for a process that is killed, says which are taken.
    """
    folder = _own_folder()
    machine = f"{socket.gethostname()}-{_machine(folder or Path(tempfile.gettempdir()))}"
    key = sha256(f"{group} {machine}".encode()).hexdigest()[:16]
    for number in range(MAX_INSTANCES if folder else 0):
        path = Path(folder or "", f"{key}-{number}.lock")
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(path))
            except OSError:
                # Somebody else has it, or it cannot be written.
                continue
            stack.callback(path.unlink, missing_ok=True)
            yield f"{group}-{machine}-{number}"
            return
    yield f"{group}-{machine}-{uuid4().hex}"


def _own_folder() -> Path | None:
    """Return a folder for lock files that other users cannot write to; None if there is none."""
    user = os.getuid()
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()):
        folder = Path(parent or "/nonexistent", f"alertstream-{user}")
        with suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077:
                return folder
    return None


def _machine(folder: Path) -> str:
    """Return an id shared only by processes that see each other's lock files.

    Even on two machines, containers may have the same host name and hardware address.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        boot = f"{getnode():x}"
    place = folder.stat()
    return sha256(f"{boot} {place.st_dev} {place.st_ino}".encode()).hexdigest()[:12]
