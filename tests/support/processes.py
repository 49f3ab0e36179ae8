"""Processes as Linux shows them: their folder, and the addresses they listen on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tests.support.commands import until

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}
"""127.0.0.1, in the form of ``listens_on``."""


def inside(folder: Path) -> dict[int, str]:
    """The processes whose working folder is in a folder, as Kafka's are: names by id."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        # It may end while we look.
        with suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found[int(process.name)] = (process / "comm").read_text().strip()
    return found


def listens_on(pid: int) -> list[str]:
    """The addresses that a process listens on, in hexadecimal as the kernel shows them."""
    sockets = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        # It may be closed while we look.
        with suppress(OSError):
            sockets.add(str(each.readlink()))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines():
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                found.append(local.partition(":")[0])
    return found


def nothing_left(folder: Path) -> None:
    # Kafka ends by itself some time after its folder is removed: that would be too late.
    until(lambda: not inside(folder), "all processes have ended", 5)
    until(lambda: not list((folder / "temporary").iterdir()), "the temporary folder is removed", 5)
