"""Filters that do not return, and messages that would take minutes to decode."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.support import raw_kafka
from tests.support.commands import run, send_visits, start, stop, until
from tests.support.filters import own_filter, own_filters, totals
from tests.support.hostile_messages import (
    COMPRESS,
    array,
    carried,
    doubling,
    items,
    record,
    wrapped,
)

MEGABYTE = 1024 * 1024
TRUTHS = COMPRESS["deflate"](items(8 * MEGABYTE, b"\1"))
POISON = {
    "a schema of 28 doublings": carried(doubling(28, "float"), b"\2"),
    "8 million records": carried(record(array(wrapped("boolean"))), TRUTHS, "deflate"),
}


@pytest.mark.hostile("6: a filter that loops for ever, and Ctrl-C")
def test_filter_that_loops_ends_on_ctrl_c(
    kafka: str, topic: str, visits: Path, tmp_path: Path
) -> None:
    send_visits(kafka, topic, visits, partitions=1)
    called = tmp_path / "called"
    body = f"open({str(called)!r}, 'w').close()\n        while True: pass"
    path = own_filter(tmp_path, "LoopsForEver", body, fields="('snr',)")
    process = start("filter", kafka, topic, "--filters", path, "--format", "json")
    until(called.exists, "the filter runs")
    begin = time.monotonic()
    ended = stop(process)
    assert time.monotonic() - begin < 15
    assert ended.status == 3, ended.err
    assert "LoopsForEver takes more than 1 s for one alert" in ended.err
    assert "FilterTimeout: took too long for one alert (line " in ended.err
    counts = totals(ended)["LoopsForEver"]
    assert 1 <= counts["failed"] == counts["seen"] < 10


@pytest.mark.hostile("6: a filter that does not return for one alert, and one that always fails")
def test_alerts_on_which_filters_hang_or_fail_are_counted(
    kafka: str, topic: str, visits: Path, tmp_path: Path
) -> None:
    send_visits(kafka, topic, visits, partitions=1)
    code = """
import time

class HangsOnce(AlertFilter):
    fields = ()
    calls = 0
    def passes(self, alert):
        self.calls += 1
        if self.calls == 5:
            time.sleep(1000)
        return True

class NeverHangs(AlertFilter):
    fields = ()
    def passes(self, alert):
        return True

class AlwaysFails(AlertFilter):
    fields = ("snr",)
    def passes(self, alert):
        return alert["diaSource"]["brightness"] > 3
"""
    path = own_filters(tmp_path, code)
    how = ("--filters", path, "--cap", 0, "--exit-on-eof", "--format", "json")
    ended = run("filter", kafka, topic, *how)
    assert ended.status == 3, ended.err
    found = {name: (each["failed"], each["passed"]) for name, each in totals(ended).items()}
    assert found == {"HangsOnce": (1, 359), "NeverHangs": (0, 360), "AlwaysFails": (360, 0)}
    assert ended.err.count("KeyError: 'brightness' (line ") == 1
    assert ': return alert["diaSource"]["brightness"] > 3)' in ended.err


@pytest.mark.hostile("1h: poison messages between alerts, in every command that reads")
@pytest.mark.parametrize("command", ["filter", "print", "print --save", "monitor"])
def test_poison_between_alerts(
    command: str, kafka: str, topic: str, visits: Path, tmp_path: Path
) -> None:
    send_visits(kafka, topic, visits, partitions=1)
    raw_kafka.write(kafka, topic, [*POISON.values()] * 2)
    sent = len(raw_kafka.read(kafka, topic))
    name, *more = command.split()
    if more:
        more += [str(tmp_path / "night.avro")]
    if name == "filter":
        more += ["--where", "diaSource.snr > 5", "--output", f"passed-{topic}"]
    begin = time.monotonic()
    ended = run(name, kafka, topic, *more, "--group", topic, "--exit-on-eof", "--format", "json")
    assert time.monotonic() - begin < 20
    assert ended.status == 3, ended.err
    assert "a schema of too many types" in ended.err
    assert "more values than an alert may have" in ended.err
    if name == "filter":
        assert totals(ended)[f"passed-{topic}"]["undecodable"] == 4
        assert totals(ended)[f"passed-{topic}"]["seen"] == sent
        assert len(raw_kafka.read(kafka, f"{topic}-undecodable")) == 4
    elif name == "print":
        assert len(ended.objects) == sent
        assert f"{sent} read = {sent - 4} printed + 0 skipped + 4 undecodable" in ended.err
    else:
        assert ended.objects[-1]["topics"][topic]["undecodable"] == 4
