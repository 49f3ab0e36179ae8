"""The images of a rehearsal: the Dockerfile's, and stand-ins where no registry can be asked.

An image that this machine's Podman has is taken. Else Python's is a Debian by ``debootstrap``,
and Kafka's is made of the jars from Maven that ``alertstream broker`` runs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from deploy.rehearsal.podman import ROOT, podman, run, say

import alertstream
from alertstream.local.broker.java import JAR_LOCK, fetch_jars, find_java, kafka_version

PYTHON = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
KAFKA = f"apache/kafka:{kafka_version()}"
DEBIAN = "trixie"
"""What Python's slim image is made of; its Python is 3.13."""
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
JARS = (
    JAR_LOCK,
    ROOT / "bench/kafka-tools.lock.toml",
    ROOT / "deploy/mirror/connect-mirror.lock.toml",
)
"""Kafka's, its tools', and the mirror's."""
PIP_SETTINGS = ("cert", "index-url", "extra-index-url", "trusted-host", "find-links")


def is_there(image: str) -> bool:
    """Return whether an image need not be made."""
    return not run("podman", "image", "exists", image, check=False).returncode


def make_python() -> None:
    """Make the stand-in for Python's image."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", DEBIAN, root)
        (root / "usr/bin/python").symlink_to("python3")
        shutil.rmtree(root / "var/cache/apt")
        tar = subprocess.Popen(["tar", "-C", root, "-cf", "-", "."], stdout=subprocess.PIPE)
        podman(
            "import",
            "--change",
            "CMD python3",
            "-",
            f"docker.io/library/{PYTHON}",
            stdin=tar.stdout,
        )


def make_kafka() -> None:
    """Make the stand-in for Kafka's image."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / "kafka"
        shutil.copytree(Path(__file__).with_name("kafka"), context)
        shutil.copytree(find_java(None).parents[1], context / "java")
        (context / "libs").mkdir()
        for lock in JARS:
            for jar in fetch_jars(lock, notice=say):
                shutil.copy(jar, context / "libs")
        build(context, f"docker.io/{KAFKA}")


def make_alertstream() -> None:
    """Build the image of the Dockerfile, with pip as it is set up on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        settings = dict(
            re.findall(r"^\S*[.](\S+)='(.*)'$", run("pip", "config", "list").stdout, re.M)
        )
        lines = [f"{key} = {settings[key]}\n" for key in PIP_SETTINGS if key in settings]
        file = Path(folder) / "pip.conf"
        file.write_text("".join(("[global]\n", *lines)))
        volumes = [f"{file}:/etc/pip.conf"]
        volumes += [
            f"{path}:{path}"
            for key in ("cert", "find-links")
            if Path(path := settings.get(key, "")).is_absolute()
        ]
        version = f"--build-arg=VERSION={alertstream.__version__}"
        build(ROOT, "alertstream", version, *(f"--volume={each}:ro" for each in volumes))


def build(context: Path, name: str, *options: str) -> None:
    """Build an image."""
    podman("build", "--isolation", "chroot", "--pull-never", *options, "-t", name, context)


def main() -> None:
    """Make what is not there, and build the image of the Dockerfile."""
    os.nice(5)
    for image, make, note in (
        (PYTHON, make_python, "stand-in, Debian's Python by debootstrap"),
        (KAFKA, make_kafka, "stand-in, from Maven's jars"),
        ("alertstream", make_alertstream, "from the Dockerfile"),
    ):
        begin = time.monotonic()
        if image == "alertstream" or not is_there(image):
            make()
            size = int(podman("image", "inspect", "--format", "{{.Size}}", image)) / 1e6
            say(f"{image}: {note}; {size:.0f} MB, {time.monotonic() - begin:.0f} s")
        else:
            say(f"{image}: is there")


if __name__ == "__main__":
    main()
