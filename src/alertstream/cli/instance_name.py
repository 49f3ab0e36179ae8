"""A consumer's name in its group that stays the same across restarts, by lock files."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from uuid import getnode, uuid4

MAX_INSTANCES = 1000
"""Processes of a group on one machine whose names stay the same."""


@contextmanager
def instance_name(group: str) -> Iterator[str]:
    """Give a name for this process in a consumer group, the same after a restart.

    The first process of the group on this machine has number 0, a second one at the same time 1.
    A lock file, which the system releases even for a process that is killed, says which are taken.
    """
    machine = f"{socket.gethostname()}-{_machine()}"
    key = sha256(f"{group} {machine}".encode()).hexdigest()[:16]
    for number in range(MAX_INSTANCES):
        path = Path(tempfile.gettempdir()) / f"alertstream-{key}-{number}.lock"
        with ExitStack() as stack:
            try:
                lock = stack.enter_context(path.open("a"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its last owner may have removed it by now, and another process created it again.
                if not os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                    continue
            except OSError:
                # Somebody else has it, or it cannot be written.
                continue
            stack.callback(path.unlink, missing_ok=True)
            yield f"{group}-{machine}-{number}"
            return
    yield f"{group}-{machine}-{uuid4().hex}"


def _machine() -> str:
    """Return what only processes have in common that see each other's lock files.

    Containers may have one host name and one hardware address, on two machines even.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        boot = f"{getnode():x}"
    folder = Path(tempfile.gettempdir()).stat()
    return sha256(f"{boot} {folder.st_dev} {folder.st_ino}".encode()).hexdigest()[:12]
