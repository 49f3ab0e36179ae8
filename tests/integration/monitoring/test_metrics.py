"""What each command serves while it runs is what the documentation says."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.support import raw_kafka
from tests.support.commands import run, start, stop, until

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def url_of(process: subprocess.Popen[str]) -> str:
    """Where a command serves its metrics, as it says itself."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"(http://[\d.:]+)/metrics", line):
            return found[1]
    raise AssertionError("it has ended")


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(url: str) -> dict[str, float]:
    status, text = get(f"{url}/metrics")
    assert status == 200
    values = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in values}


def served(url: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\w+) ", get(f"{url}/metrics")[1], re.MULTILINE))


def documented(command: str) -> set[str]:
    rows = re.findall(r"^\| `(alertstream_\w+)` \| \w+ \|[^|]*\| ([\w, ]+) \|", PAGE, re.MULTILINE)
    return {name for name, commands in rows if commands == "all" or command in commands.split(", ")}


def test_what_each_command_serves_while_it_runs(kafka: str, topic: str, visits: Path) -> None:
    raw_kafka.make(kafka, topic)
    raw_kafka.write(kafka, topic, [b"garbage"])
    port = ("--metrics-port", 0)
    how = ("-g", f"f-{topic}", "--workers", 2, "--log-format", "json")
    earliest = ("--from", "earliest", *port)
    processes = {
        "filter": start("filter", kafka, topic, "1", *how, *port),
        "print": start("print", kafka, topic, "-g", f"p-{topic}", *port, out=Path("/dev/null")),
        "notify": start("notify", kafka, topic, "--exec", "dd of=/dev/null status=none", *earliest),
    }
    try:
        urls = {name: url_of(each) for name, each in processes.items()}
        for url in urls.values():
            until(lambda url=url: get(f"{url}/readyz") == (200, "ready\n"), "it is ready")
        processes["monitor"] = start("monitor", kafka, topic, *port, out=Path("/dev/null"))
        urls["monitor"] = url_of(processes["monitor"])
        until(lambda: get(f"{urls['monitor']}/readyz")[0] == 200, "it is ready")
        # An interval, so that it is there after its first visit.
        how = ("--data", visits, "--interval", 30, "--no-align")
        processes["send"] = start("send", kafka, topic, *how, *port)
        urls["send"] = url_of(processes["send"])
        alerts = f'alertstream_alerts_total{{topic="{topic}"}}'
        for name in ("filter", "print", "monitor"):
            until(lambda name=name: scrape(urls[name]).get(alerts) == 121, f"alerts of {name}")
        for name, url in urls.items():
            until(lambda name=name, url=url: documented(name) <= served(url), f"all of {name}")
            assert served(url) == documented(name), name
            assert get(f"{url}/healthz") == (200, "alive\n")
        parts = ("passed", "rejected", "capped", "duplicate", "failed")
        names = [f'alertstream_{each}_total{{filter="Filter001"}}' for each in parts]
        latencies = f'alertstream_latency_seconds_count{{clock="kafka",topic="{topic}"}}'

        def counted(name: str, *metrics: str) -> float:
            figures = scrape(urls[name])
            return sum(figures[each] for each in metrics)

        until(lambda: counted("filter", *names) == 120, "all is committed")
        until(lambda: counted("print", latencies) == 120, "all is shown")
        assert counted("print", 'alertstream_passed_total{filter="print"}') == 120
        assert counted("filter", "alertstream_ready") == 1
        assert counted("send", f'alertstream_sent_total{{topic="{topic}"}}') == 120
        assert counted("send", f'alertstream_visit_send_seconds_count{{topic="{topic}"}}') >= 1
    finally:
        ended = {name: stop(each) for name, each in processes.items()}
    assert {name: each.status for name, each in ended.items()} == {
        **dict.fromkeys(("filter", "print", "notify", "monitor"), 3),
        "send": 1,
    }
    # A worker has written it.
    (event,) = map(json.loads, ended["filter"].err.splitlines())
    assert (event["level"], event["cause"]) == ("warning", "plain text, not Avro")
    assert (event["topic"], event["partition"], event["offset"]) == (topic, 0, 0)
    assert event["pid"] != processes["filter"].pid


def test_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        watched = run("print", "127.0.0.1:1", "x", "--metrics-port", port)
    assert (watched.status, watched.out) == (2, "")
    where = f"metrics cannot be served (Address already in use) · 127.0.0.1:{port} · choose another"
    assert watched.err.startswith(f"error: {where}")


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_port_that_is_none(port: str) -> None:
    watched = run("filter", "localhost:1", "x", "1", "--metrics-port", port)
    assert (watched.status, watched.out) == (2, "")
    assert "'--metrics-port'" in watched.err
