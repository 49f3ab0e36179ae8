"""``alertstream filter``: filters are added to a group, or taken out, and the others go on."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support import raw_kafka
from tests.support.commands import Finished, run, send_visits, start, stop, until
from tests.support.filters import own_filters, totals
from tests.support.raw_kafka import values


def test_new_filters_begin_where_the_user_says_and_the_others_go_on(
    kafka: str, topic: str, visits: Path, tmp_path: Path
) -> None:
    number = topic.split("-")[-1]
    names = {each: f"{each}{number}" for each in ("First", "Later", "Early")}
    all_pass = "(AlertFilter):\n    fields = ()\n    def passes(self, alert): return True\n"
    file = own_filters(tmp_path, "".join(f"class {each}{all_pass}" for each in names.values()))

    def how(*filters: str) -> list[object]:
        own = [names[each] for each in filters]
        return [topic, *own, "--filters", file, "--cap", 0, "--format", "json"]

    def filtered(*filters: str) -> Finished:
        finished = run("filter", kafka, *how(*filters), "--exit-on-eof")
        assert finished.status in (0, 3), finished.err
        return finished

    raw_kafka.make(kafka, topic, 2)
    send_visits(kafka, topic, visits)
    filtered("First")
    before = values(raw_kafka.read(kafka, topic))
    seen = totals(filtered("First", "Later"))
    assert {each["seen"] for each in seen.values()} == {0}
    raw_kafka.write(kafka, topic, [b"junk"], partition=0)
    send_visits(kafka, topic, visits)
    # It is killed while the new one gets what the others have had.
    early = ("--new-filters-from", "earliest", "--rate", 400)
    process = start("filter", kafka, *how("First", "Later", "Early"), *early)
    until(lambda: raw_kafka.read(kafka, names["Early"]), "the new one has begun")
    stop(process, signal.SIGKILL)
    seen = totals(filtered("First", "Later", "Early"))
    assert seen[names["First"]]["seen"] == seen[names["Later"]]["seen"] == 361
    assert 361 < seen[names["Early"]]["seen"] < 721
    assert raw_kafka.committed(kafka, f"filter-{topic}-mine") == raw_kafka.ends(kafka, topic)
    for name, times in (("First", 2), ("Early", 2), ("Later", 1)):
        assert sorted(values(raw_kafka.read(kafka, names[name]))) == sorted(before * times), name
    assert len(raw_kafka.read(kafka, f"{topic}-undecodable")) == 1
