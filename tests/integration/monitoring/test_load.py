"""``alertstream load``: many subscribers by one command."""

from __future__ import annotations

from pathlib import Path

from tests.support.commands import one_error, run, send_visits


def test_each_subscriber_reads_everything(kafka: str, topic: str, visits: Path) -> None:
    one_error(run("load", kafka, topic), f"there is no topic {topic}")
    one_error(run("load", kafka, topic, "-g", "one"), "leave out --group", status=2)
    send_visits(kafka, topic, visits)
    how = ("--subscribers", 3, "--workers", 2, "--exit-on-eof", "--format", "json")
    ended = run("load", kafka, topic, *how)
    assert (ended.status, ended.err) == (0, "")
    final = ended.objects[-1]
    assert final["final"] and final["slowest"]["behind"] == 0
    assert [(each["subscriber"], each["alerts"]) for each in final["each"]] == [
        (1, 360), (2, 360), (3, 360),
    ]  # fmt: skip
    assert final["alerts"] == 3 * 360
    assert final["bytes"] == 3 * final["each"][0]["bytes"]
