"""One real Kafka for the whole session, started with ``alertstream broker``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.commands import finish, run, send_visits, start, stop, until

if TYPE_CHECKING:
    from tests.support.registry_service import RegistryService


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Kafka with one node."""
    ready = tmp_path_factory.mktemp("kafka") / "ready"
    process = start("broker", "--port", 0, "--ready-file", ready)
    try:
        until(lambda: ready.exists() or process.poll() is not None, "Kafka is ready", 180)
        assert process.poll() is None, finish(process).err
        yield ready.read_text().strip()
    finally:
        assert stop(process).status == 0


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryService]:
    """A real schema registry."""
    from tests.support.registry_service import RegistryService

    service = RegistryService(tmp_path_factory.mktemp("registry"))
    service.start()
    try:
        yield service
    finally:
        service.stop()


_numbers = itertools.count(1)


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic name that no other test uses."""
    return f"{request.node.originalname.removeprefix('test_')}-{next(_numbers)}"


@pytest.fixture(scope="session")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three small simulated visits of 120 alerts each."""
    folder = tmp_path_factory.mktemp("visits")
    size = ("--cutout-size", 21, "--history", "0-8")
    made = run("simulate", folder, "--visits", 3, "--alerts", 120, *size)
    assert made.status == 0, made.err
    return folder


@pytest.fixture(scope="session")
def stream(kafka: str, visits: Path) -> str:
    """A topic of one partition with a visit's 120 alerts, which tests only read."""
    send_visits(kafka, "only-read", sorted(visits.iterdir())[0], partitions=1)
    return "only-read"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have each report of a hostile test say what it survives."""
    for item in items:
        item.user_properties += [("hostile", mark.args[0]) for mark in item.iter_markers("hostile")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the counts of the fault tests, and with ``-m hostile`` what was survived."""
    accounts = [line for name, line, _ in _properties(terminalreporter) if name == "account"]
    if accounts:
        head = ("fault", "alerts sent", "received once", "lost", "duplicated")
        terminalreporter.section("accounts")
        for fault, *counts in (head, *accounts):
            shown = "".join(f"{count:>15}" for count in counts)
            terminalreporter.write_line(f"{fault:50}{shown}")
    if terminalreporter.config.option.markexpr == "hostile":
        terminalreporter.section("hostile input")
        told = {line: how for name, line, how in _properties(terminalreporter) if name == "hostile"}
        for line in sorted(told, key=lambda line: (int(re.match(r"\d*", line)[0] or 0), line)):
            terminalreporter.write_line(f"{line:85}{told[line]:>10}")


def _properties(reporter: pytest.TerminalReporter) -> Iterator[tuple[str, Any, str]]:
    """The properties of all reports, each with the report's outcome; failures come last."""
    for outcome in ("passed", "failed"):
        for report in reporter.getreports(outcome):
            yield from ((name, value, outcome) for name, value in report.user_properties)
