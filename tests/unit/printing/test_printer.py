"""What is shown, saved and committed of batches of messages, in which order."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pyarrow.parquet
import pytest
from tests.support.samples import body_of, sample_alert
from tests.support.ztf import ztf_alert

from alertstream.alert.alert import Alert
from alertstream.alert.surveys import QUANTITIES
from alertstream.avro.schemas import Schemas
from alertstream.avro.wire import pack
from alertstream.errors import DataError, UsageError
from alertstream.filtering import watchdog
from alertstream.filtering.expression import WhereFilter
from alertstream.filtering.filters import AlertFilter
from alertstream.filtering.selection import Selection
from alertstream.kafka.messages import Message, Offsets, encode_matches
from alertstream.printing.account import ReadingAccount
from alertstream.printing.printer import Printer, PrintOptions
from alertstream.printing.writers import Writer, writer_for
from alertstream.printing.writers.cutout_files import CutoutFolder
from alertstream.printing.writers.parquet import HISTORY
from alertstream.sending.visits.encoders import container_encoder


def message(offset: int, **source: Any) -> Message:
    """An alert of schema 10.0 with these values in its diaSource."""
    alert = sample_alert("10.0")
    alert["diaSource"] = alert["diaSource"] | source
    return Message("alerts", 0, offset, 1_000, None, pack(1000, body_of(alert, "10.0")))


def junk(offset: int) -> Message:
    return Message("alerts", 0, offset, 1_000, None, b"junk")


def carrying(kind: Any, body: bytes) -> Message:
    """An alert in a container file, whose ``objectId`` is of some type."""
    schema = {"type": "record", "name": "top", "fields": [{"name": "objectId", "type": kind}]}
    return Message("alerts", 0, 0, 0, None, b"".join(container_encoder(schema)(body)))


OTHER = {"type": "record", "name": "other", "fields": [{"name": "name", "type": "string"}]}


class Batches:
    """Gives batches as a consumer does, and keeps what happens in between."""

    def __init__(self, *batches: list[Message], rebalanced: bool = False) -> None:
        self.events: list[Any] = []
        self.rebalance_lock = asyncio.Lock()
        self._batches = batches
        self._rebalanced = rebalanced

    async def batches(
        self, stop: asyncio.Event, after_rebalance: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[list[Message]]:
        for batch in self._batches:
            if not stop.is_set():
                yield batch
                if self._rebalanced:
                    await after_rebalance()

    async def commit(self, offsets: Offsets) -> None:
        if offsets:
            self.events.append([offset for offset, _ in offsets.values()])

    async def write(self, lines: list[str], stop: asyncio.Event) -> None:
        self.events += lines


def printed(
    batches: Batches, writers: Sequence[Writer] = (), notices: Any = None, **options: Any
) -> ReadingAccount:
    options = {"format": "json", "fields": ("source_id",)} | options
    notice = [].append if notices is None else notices.append
    chosen_by = options.pop("chosen_by", ())
    printer = Printer(
        Schemas(),
        PrintOptions(**options),
        batches.write,
        writers=writers,
        selection=Selection(chosen_by, notice) if chosen_by else None,
        notice=notice,
    )
    run = printer.run(batches, asyncio.Event())  # type: ignore[arg-type]
    return asyncio.run(run)


def ids(events: list[Any]) -> list[Any]:
    """Ids of what was shown, and what was committed."""
    return [
        json.loads(each)["alert"]["source_id"] if isinstance(each, str) else each for each in events
    ]


def numbered(first: int, last: int) -> list[Message]:
    return [message(number, diaSourceId=number, visit=number % 2) for number in range(first, last)]


def test_a_batch_is_committed_once_it_is_shown() -> None:
    batches = Batches(numbered(0, 2), [], numbered(2, 3))
    account = printed(batches)
    assert ids(batches.events) == [0, 1, [2], 2, [3]]
    assert account.as_lines() == ["3 read = 3 printed + 0 skipped + 0 undecodable"]


def test_what_an_alert_matched_is_shown_and_saved(tmp_path: Path) -> None:
    came = [{"in": "targets.csv", "target": "M31 \x1b[2J<b>", "separation": 0.42}]

    class Near(AlertFilter):
        def passes(self, alert: Alert) -> bool:
            alert.matches.append({"in": "map.fits", "probability": 0.5})
            return True

    plainly, copied = message(0), message(1).with_matches(encode_matches(came))
    shown = Batches([plainly, copied])
    paths = [tmp_path / name for name in ("t.parquet", "t.html")]
    with ExitStack() as stack:
        made = [writer_for(each, "alerts", (), Schemas(), print) for each in paths]
        printed(shown, [stack.enter_context(each) for each in made])
    assert ["match" in json.loads(each) for each in shown.events[:2]] == [False, True]
    assert json.loads(shown.events[1])["match"] == came
    column = pyarrow.parquet.read_table(paths[0])["match"].to_pylist()
    assert column[0] is None and json.loads(column[1]) == came
    assert "<br>M31 \N{REPLACEMENT CHARACTER}[2J&lt;b&gt; in targets.csv" in paths[1].read_text()
    chosen = Batches([copied])
    printed(chosen, chosen_by=[[Near()]])
    assert json.loads(chosen.events[0])["match"] == [*came, {"in": "map.fits", "probability": 0.5}]
    for how, expected in (
        ({"format": "csv"}, ["match", f'"{json.dumps(came)}"'.replace('"', '""')[1:-1]]),
        ({"format": "text"}, [f"match={came}".replace("\x1b", "\\x1b")]),
    ):
        lines = Batches([copied])
        printed(lines, fields=("match",), **how)
        assert lines.events[:-1] == expected
    text = Batches([copied])
    printed(text, fields=(), format="text")
    line = "  match  M31 \N{REPLACEMENT CHARACTER}[2J<b> in targets.csv, 0.42 arcsec"
    assert text.events[1].split("\n")[1:] == [line]


def test_interval_count_and_visit_select() -> None:
    every_third = Batches(numbered(0, 4), numbered(4, 8))
    assert printed(every_third, interval=3).skipped == 5
    assert ids(every_third.events) == [0, 3, [4], 6, [8]]
    two = Batches(numbered(0, 4), numbered(4, 8))
    assert printed(two, count=2).read == 2
    assert ids(two.events) == [0, 1, [2]]
    odd = Batches(numbered(0, 4))
    account = printed(odd, visit=1)
    assert (account.done, account.skipped) == (2, 2)
    assert ids(odd.events) == [1, 3, [4]]


class Breaks(AlertFilter):
    """Passes odd ids, and raises an error on 4 and 5."""

    fields = ("source_id",)

    def passes(self, alert: Alert) -> bool:
        if alert.source_id in (4, 5):
            raise RuntimeError("four or five")
        return bool(alert.source_id % 2)


def test_filters_select() -> None:
    batches, notices = Batches([*numbered(0, 6), junk(6), junk(7)]), []
    above = [WhereFilter("source_id > 0", "--where")]
    account = printed(batches, notices=notices, chosen_by=[[Breaks()], above])
    assert ids([each for each in batches.events if '"alert": {' in str(each)]) == [1, 3]
    assert account.as_lines() == ["8 read = 2 printed + 2 skipped + 2 undecodable + 2 failed"]
    assert len(notices) == 2
    assert notices[0].startswith(
        "Breaks raised an error on an alert; it failed: RuntimeError: four"
    )
    assert batches.events[-1] == [8]


def test_what_another_filter_passes_has_not_failed() -> None:
    batches = Batches(numbered(3, 7))
    either = [Breaks(), WhereFilter("source_id == 5", "either")]
    account = printed(batches, chosen_by=[either], visit=1, count=2)
    assert ids(batches.events) == [3, 5, [6]]
    assert (account.failed, account.skipped) == (0, 1)


@pytest.mark.hostile("a filter of print with an endless loop")
def test_filter_that_does_not_return_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "FILTER_TIMEOUT", 0.1)
    monkeypatch.setattr(watchdog, "TICK", 0.02)

    class Loops(AlertFilter):
        fields = ()

        def passes(self, alert: Alert) -> bool:
            while True:
                pass

    assert printed(Batches([message(0)]), chosen_by=[[Loops()]]).failed == 1


def test_undecodable_messages_are_shown_and_reported_once() -> None:
    batches, notices = Batches([junk(0), message(1), junk(2)]), []
    account = printed(batches, notices=notices)
    assert [json.loads(each)["alert"] is None for each in batches.events[:3]] == [True, False, True]
    assert notices == ["undecodable message: plain text, not Avro · alerts[0]@0"]
    assert account.as_lines() == ["3 read = 1 printed + 0 skipped + 2 undecodable"]
    assert printed(Batches([junk(0)]), format="csv").undecodable == 1


def test_files_that_stay_are_written_before_a_commit(tmp_path: Path) -> None:
    path = tmp_path / "night.avro"
    with writer_for(path, "alerts", (), Schemas(), print) as writer:
        batches = Batches([message(0), junk(1)], [message(2)], rebalanced=True)
        account = printed(batches, [writer])
    assert batches.events[2] == [2]
    beside = tmp_path / "night-undecodable.avro"
    assert account.as_lines()[1:] == [f"3 saved in {beside}, {path}"]
    with path.open("rb") as file:
        assert len(list(fastavro.reader(file))) == 2
    with beside.open("rb") as file:
        assert list(fastavro.reader(file)) == [b"junk"]


@pytest.mark.parametrize("name", ["night.parquet", "night.html"])
def test_files_that_are_complete_at_the_end_are_committed_then(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with writer_for(path, "alerts", ("source_id",), Schemas(), print) as writer:
        batches = Batches(numbered(0, 2), numbered(2, 3))
        account = printed(batches, [writer])
    assert ids(batches.events) == [0, 1, 2, [3]]
    assert account.files == [f"3 saved in {path}"]
    assert path.exists()


@pytest.mark.hostile("16: a table's column of a type that doubles 13 times")
def test_a_field_of_many_columns_is_undecodable(tmp_path: Path) -> None:
    kind: Any = "int"
    for level in range(13, -1, -1):
        fields = [{"name": "a", "type": kind}, {"name": "b", "type": "int"}]
        if isinstance(kind, dict):
            fields[1]["type"] = kind["name"]
        kind = {"type": "record", "name": f"R{level}", "fields": fields}
    hostile = carrying(kind, bytes(2**14))
    made = ("alerts", ("object_id",), Schemas(), print)
    with writer_for(tmp_path / "t.parquet", *made) as writer:
        began = time.process_time()
        account = printed(Batches([hostile] * 3, [message(3, diaObjectId=5)]), [writer])
        assert time.process_time() - began < 2
    assert (account.done, account.undecodable) == (1, 3)
    assert pyarrow.parquet.read_table(tmp_path / "t.parquet").to_pylist() == [{"object_id": 5}]


def test_table_has_all_quantities_and_the_history(tmp_path: Path) -> None:
    alert = sample_alert("10.0")
    source = alert["diaSource"] | {"diaSourceId": 2**63 - 5, "midpointMjdTai": 61000.0}
    alert["diaSource"] = source
    earlier = [(60990.5, 9.5), (60980.5, math.nan)]
    alert["prvDiaSources"] = [
        source | {"midpointMjdTai": mjd, "band": "r", "psfFlux": -70.0, "psfFluxErr": error}
        for mjd, error in earlier
    ]
    whole = Message("alerts", 0, 0, 0, None, pack(1000, body_of(alert, "10.0")))
    ztf = Message("alerts", 0, 1, 0, None, ztf_alert(Science="s", Template="t", Difference="d")[1])
    # Not every name is text.
    paths = [tmp_path / os.fsdecode(b"%d\xff.parquet" % number) for number in range(2)]
    rows = []
    for path, each in zip(paths, (whole, ztf), strict=True):
        with writer_for(path, "alerts", (), Schemas(), print) as writer:
            assert printed(Batches([each]), [writer]).done == 1
        rows += pyarrow.parquet.read_table(BytesIO(path.read_bytes())).to_pylist()
    row, other = rows
    assert {*row} == QUANTITIES | {*HISTORY}
    assert (row["source_id"], row["history"], row["mjd"]) == (2**63 - 5, 2, 61000.0)
    assert row["history_mjd"] == [60980.5, 60990.5]
    assert (row["history_kind"], row["history_band"]) == (["detection"] * 2, ["r"] * 2)
    assert (row["history_flux"], row["history_flux_error"]) == ([-70.0] * 2, [None, 9.5])
    assert other["object_id"] == "ZTF19acihgng"
    assert [other[name] for name in HISTORY] == [[]] * 5


@pytest.mark.hostile("16: a table's row that passes alone, and not among others")
def test_rows_of_odd_types_stop_no_table(tmp_path: Path) -> None:
    fields = [{"name": "a", "type": "int"}]
    record = carrying({"type": "record", "name": "R", "fields": fields}, b"\x02")
    nothing = carrying({"type": "array", "items": "int"}, b"\0")
    odd = Message("alerts", 0, 0, 0, None, b"".join(container_encoder(OTHER)(b"\x02x")))
    path = tmp_path / "t.parquet"
    with writer_for(path, "alerts", ("objectId",), Schemas(), print) as writer:
        account = printed(Batches([odd, record, nothing, record]), [writer], fields=("objectId",))
    assert (account.done, account.undecodable) == (3, 1)
    rows = pyarrow.parquet.read_table(path).column("objectId").to_pylist()
    assert rows == [{"a": 1}, {"a": None}, {"a": 1}]


@pytest.mark.hostile("9: a second night of a group saved under the same name")
@pytest.mark.parametrize("name", ["night.parquet", "night.html"])
def test_what_a_group_saved_stays(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for night in (0, 2, 4):
        with writer_for(path, "alerts", ("source_id",), Schemas(), print, keep=True) as writer:
            account = printed(Batches(numbered(night, night + 2)), [writer])
    assert account.files == [f"2 saved in {tmp_path / name.replace('.', '-3.')}"]
    assert len(list(tmp_path.iterdir())) == 3
    if path.suffix == ".parquet":
        rows = pyarrow.parquet.read_table(tmp_path).column("source_id").to_pylist()
        assert sorted(rows) == list(range(6))
    with writer_for(path, "alerts", ("source_id",), Schemas(), print, keep=True) as writer:
        assert printed(Batches([]), [writer]).files == ["nothing matched: no file written"]
    with writer_for(path, "alerts", ("source_id",), Schemas(), print) as writer:
        printed(Batches(numbered(0, 1)), [writer])
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.hostile("9: two members of a group save under one name at the same time")
@pytest.mark.parametrize("name", ["night.parquet", "night.html"])
def test_two_who_save_under_one_name(tmp_path: Path, name: str) -> None:
    path, made = tmp_path / name, ("alerts", ("source_id",), Schemas(), print)
    with writer_for(path, *made, keep=True) as first, writer_for(path, *made, keep=True) as second:
        printed(Batches(numbered(0, 2)), [first])
        printed(Batches(numbered(2, 3)), [second])
        with (
            writer_for(path, *made),
            pytest.raises(DataError, match="another process writes to the file"),
            writer_for(path, *made),
        ):
            pass
    names = [path.name, path.with_stem("night-2").name]
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(names)


@pytest.mark.hostile("9: what a process that was killed has left is used again")
@pytest.mark.parametrize("name", ["night.parquet", "night.html"])
def test_left_over_part_is_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / f".{name}.part").write_bytes(b"<" * 100_000)
    with writer_for(tmp_path / name, "alerts", ("source_id",), Schemas(), print) as writer:
        printed(Batches(numbered(0, 2)), [writer])
    (path,) = tmp_path.iterdir()
    assert path.name == name
    assert b"<<" not in path.read_bytes()


def test_a_member_that_comes_meanwhile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "night.parquet"
    with writer_for(path, "alerts", ("source_id",), Schemas(), print) as writer:
        batches = Batches(numbered(0, 2), numbered(2, 3), rebalanced=True)
        with pytest.raises(DataError, match="another member joined the group"):
            printed(batches, [writer])
    assert ids(batches.events) == [0, 1]
    assert list(tmp_path.iterdir()) == []


def test_what_one_file_refuses_no_file_has(tmp_path: Path) -> None:
    ztf = Message("alerts", 0, 1, 0, None, ztf_alert(Science="s", Template="t", Difference="d")[1])
    paths = [tmp_path / f"night.{kind}" for kind in ("avro", "html", "parquet")]
    # Its table has numbers for objects, or texts: not both.
    fields = ("object_id",)
    writers = [writer_for(path, "alerts", fields, Schemas(), print) for path in paths]
    account = printed(Batches([message(0, diaObjectId=5), ztf]), writers, fields=fields)
    assert (account.done, account.undecodable) == (1, 1)
    for writer in writers:
        writer.__exit__()
    assert pyarrow.parquet.read_table(paths[2]).to_pylist() == [{"object_id": 5}]
    assert paths[1].read_text().count("<tr>") == 2
    assert len(list(tmp_path.glob("night-undecodable.avro"))) == 1


def test_nothing_is_said_as_such(tmp_path: Path) -> None:
    with writer_for(tmp_path / "night.avro", "alerts", (), Schemas(), print) as writer:
        account = printed(Batches(numbered(0, 2)), [writer], visit=77)
    assert account.files == ["nothing matched: no file written"]
    with pytest.raises(UsageError, match=r"night\.txt is not a known kind of file"):
        writer_for(tmp_path / "night.txt", "alerts", (), Schemas(), print)


@pytest.mark.parametrize(
    ("form", "saved", "files"),
    [("fits", "1 cutouts", 1), ("png", "1 cutouts and 1 pictures", 2)],
)
def test_cutouts_that_no_picture_shows_are_kept(
    tmp_path: Path, form: str, saved: str, files: int
) -> None:
    alert = sample_alert("10.0") | {"cutoutDifference": b"junk"}
    alert |= {"cutoutScience": None, "cutoutTemplate": None}
    content = pack(1000, body_of(alert, "10.0"))
    batches, notices = Batches([Message("alerts", 0, 7, 0, None, content)]), []
    account = printed(batches, [CutoutFolder(tmp_path, form)], notices)
    assert account.files == [f"{saved} saved in {tmp_path}"]
    assert len(list(tmp_path.iterdir())) == files
    assert account.not_shown == len(notices) == (form == "png")
    if form == "png":
        (notice,) = notices
        text = "cutout cannot be shown: not a FITS file · alerts[0]@7 · kept as FITS"
        assert notice == text
        assert account.as_lines()[0].endswith(" undecodable, 1 cutouts cannot be shown")
