"""Podman with a store, networks and processes of its own: nothing of a rehearsal outlasts it.

A rehearsal runs in Linux namespaces: its bridges and addresses are no other's, no packet leaves it,
and when it ends, however it ends, so do all its containers. This needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TOOLS = ("podman", "runc", "netavark", "aardvark-dns", "catatonit", "unshare", "ip", "debootstrap")
INSIDE = "ALERTSTREAM_REHEARSAL"
"""Holds the folder of the rehearsal that this process is part of."""
PATHS = (f"{Path(sys.executable).parent}", "/usr/sbin", "/usr/lib/podman", "/usr/libexec/podman")
MACHINES_STORE = Path("/var/lib/containers/storage")
"""Podman's own: images that are there need not be made."""

# Where cgroups are of the first version, only runc runs; where a hard limit may not be raised, a
# container cannot ask for more than there is.
CONTAINERS = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=8000:8000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""
STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
[storage.options]
additionalimagestores = {others}
"""
# Podman before 4.6 does not know when Docker's health checks at the start are due; the rehearsal
# asks by itself.
PODMAN = """#!/bin/sh
skip=
for argument; do
    shift
    case $skip$argument in
        --health-startup-interval) skip=next:;;
        next:*) skip=;;
        *) set -- "$@" "$argument";;
    esac
done
exec {podman} "$@"
"""
DOCKER = """#!/bin/sh
[ "$1" = compose ] || exec podman "$@"
shift
# What is behind a profile is there for who names it: Docker Compose sees that by itself.
exec env COMPOSE_PROFILES=send,filter,print,monitor podman-compose "$@"
"""


def say(text: str) -> None:
    """Report progress."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def missing() -> list[str]:
    """Return what a rehearsal needs and this machine does not have."""
    path = os.pathsep.join((*PATHS, os.environ["PATH"]))
    absent = [each for each in TOOLS if not shutil.which(each, path=path)]
    return absent + ["root's rights"] * (os.geteuid() != 0)


def run(*command: object, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command, and take its output.

    :raises SystemExit: it fails, and ``check`` says that it may not.
    """
    line = [*map(str, command)]
    ran = subprocess.run(line, capture_output=True, text=True, **more)
    if check and ran.returncode:
        raise SystemExit(
            f"{' '.join(line)[:400]} …\nended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
        )
    return ran


def podman(*arguments: object, **more: Any) -> str:
    """Run Podman; return its output."""
    return run("podman", *arguments, **more).stdout.strip()


def inspected(container: str) -> Any:
    """Return what Podman knows of a container."""
    return json.loads(podman("inspect", container))[0]


def until(condition: Callable[[], Any], what: str, limit: float = 90.0) -> Any:
    """Wait until a condition is true, and return its value.

    :raises SystemExit: it is not after ``limit`` seconds.
    """
    give_up = time.monotonic() + limit
    while not (true := condition()):
        if time.monotonic() > give_up:
            raise SystemExit(f"not in {limit:.0f} s: {what}")
        time.sleep(0.2)
    return true


def until_healthy(container: str) -> int:
    """Ask a container how it is until it is well; return how often it was asked.

    Systemd would ask, were it there.
    """
    asked = 0

    def well() -> bool:
        nonlocal asked
        asked += 1
        return not run("podman", "healthcheck", "run", container, check=False).returncode

    until(well, f"{container} is healthy")
    return asked


def clear() -> None:
    """Remove all but the images: also what an earlier rehearsal in this store has left."""
    # The first time, Podman notices that what a killed rehearsal ran is gone, and fails.
    everything = ("rm --force --time 0", "pod rm --force", "volume rm --force", "secret rm")
    for what in ("rm --force", *everything):
        run("podman", *what.split(), "--all", check=False)


def arguments(module: str, text: str | None) -> argparse.ArgumentParser:
    """Return the command line that all rehearsals have."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=text)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--store", type=Path, help="a folder for the images, kept for the next rehearsal"
    )
    return parser


def rehearse(module: str, store: Path | None, work: Callable[[Path], int]) -> int:
    """Build the images and do the work, in namespaces of its own; return the exit status.

    :param module: what is run again, inside, with the same arguments.
    :param work: is called inside, with the folder of the rehearsal.
    :raises SystemExit: this machine does not have what it needs.
    """
    if INSIDE in os.environ:
        clear()
        try:
            return work(Path(os.environ[INSIDE]))
        except SystemExit:
            for name in podman("ps", "--all", "--format", "{{.Names}}").split():
                log = run("podman", "logs", name, check=False)
                (Path(os.environ[INSIDE]) / f"{name}.log").write_text(log.stdout + log.stderr)
                say(
                    f"{name} wrote last:\n" + "\n".join((log.stdout + log.stderr).splitlines()[-5:])
                )
            raise
        finally:
            clear()
    if absent := missing():
        raise SystemExit(f"error: a rehearsal needs {', '.join(absent)}")
    if store:
        store.mkdir(parents=True, exist_ok=True)
        return _inside(module, store.absolute())
    with tempfile.TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True) as folder:
        return _inside(module, Path(folder))


def _inside(module: str, folder: Path) -> int:
    _settings(folder)
    environment = os.environ | {
        INSIDE: str(folder),
        "CONTAINERS_CONF": f"{folder}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
        "PATH": os.pathsep.join((f"{folder}/bin", *PATHS, os.environ["PATH"])),
        "PYTHONPATH": f"{ROOT}/src{os.pathsep}{ROOT}",
    }
    # Building needs the network that the machine has, and the rest may not have it.
    script = """
        mount -t tmpfs none /dev/shm && "$0" -m deploy.rehearsal.images || exit
        apart='mount -t tmpfs none /run && ip link set lo up && "$0" -m "$@"; exit'
        exec unshare --net sh -c "$apart" "$0" "$@"
    """
    apart = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c")
    command = [*apart, script, sys.executable, module, *sys.argv[1:]]
    return subprocess.run(command, env=environment, cwd=ROOT).returncode


def _settings(folder: Path) -> None:
    for name in ("bin", "networks", "run", "tmp"):
        # Without what it had written there, Podman knows that nothing runs any more.
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    others = [str(MACHINES_STORE)] if (MACHINES_STORE / "overlay-images").exists() else []
    (folder / "containers.conf").write_text(CONTAINERS.format(folder=folder))
    (folder / "storage.conf").write_text(STORAGE.format(folder=folder, others=json.dumps(others)))
    for name, text in {"podman": PODMAN, "docker": DOCKER}.items():
        (folder / "bin" / name).write_text(text.replace("{podman}", shutil.which("podman") or ""))
        (folder / "bin" / name).chmod(0o755)
