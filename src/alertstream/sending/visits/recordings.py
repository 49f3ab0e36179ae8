"""Files that ``print --save`` made: their visits, and the messages as recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from alertstream.alert.alert import Alert
from alertstream.alert.surveys import field_paths, survey_of
from alertstream.avro.container.file import ContainerFile
from alertstream.avro.decoder import Decoder
from alertstream.errors import DataError, UndecodableError
from alertstream.reading.envelope import is_schema
from alertstream.reading.recording import RecordedMessage, messages_path, read_messages
from alertstream.sending.visits.schedule import Recorded, VisitFiles


def visit_reader(container: ContainerFile) -> Callable[[bytes], str | None]:
    """Return a function that reads the visit of a file's alerts; None if they do not say it."""
    if container.holds_messages:
        return lambda body: None
    decoder, survey = Decoder(container.schema, field_paths(["visit"])), survey_of(container.schema)

    def visit_of(body: bytes) -> str | None:
        try:
            visit = Alert(decoder.decode(body), survey).visit
        except UndecodableError:
            return None
        return None if visit is None else str(visit)

    return visit_of


def split_by_visit(visits: Sequence[VisitFiles]) -> list[VisitFiles]:
    """Return visits, with files that hold several of them split."""
    return [each for visit in visits for each in _apart(visit)]


def _apart(visit: VisitFiles) -> list[VisitFiles]:
    if len(visit.files) > 1:
        return [visit]
    (path,) = visit.files
    # A damaged file is sent up to the damage, as one visit.
    with suppress(DataError), ContainerFile(path) as container:
        if container.schema_id is None and not messages_path(path).exists():
            return [visit]
        found = _by_visit(container, {})
        if len(found) > 1:
            return found
    return [visit]


def recorded_visits(paths: Iterable[Path]) -> list[VisitFiles]:
    """Return the visits of files, each with its records in the order in which they came.

    A message that was not recorded is taken to be like the one before it.

    :raises DataError: a file is damaged, or has no recorded messages.
    """
    visits = []
    for path in paths:
        with ContainerFile(path) as container:
            kept = (
                read_messages(path, container.sync_marker) if messages_path(path).exists() else {}
            )
            if not kept:
                raise DataError(
                    "the file does not say when its alerts came",
                    where=str(path),
                    todo="save it with print --save FILE.avro, or send it with --data",
                )
            visits += _by_visit(container, kept)
    return visits


def keyed_files(visits: Iterable[VisitFiles]) -> set[Path]:
    """Return the files of which a recorded message had its schema as its key."""
    return {
        each.path
        for each in visits
        for record in each.records or ()
        if record.message and is_schema(record.message.key)
    }


def _by_visit(container: ContainerFile, kept: dict[int, RecordedMessage]) -> list[VisitFiles]:
    """Return a file's visits in the order of their first records."""
    # ZTF's numbers are those of quadrants, not of exposures.
    in_quadrants = not container.holds_messages and survey_of(container.schema).containers
    visit_of = (lambda body: None) if in_quadrants else visit_reader(container)
    found: defaultdict[str | None, list[Recorded]] = defaultdict(list)
    last = next(iter(kept.values())) if kept else None
    latest: dict[int, int] = {}
    for start, body in container.places():
        if body is None:
            raise DataError("the file was not made by print --save", where=str(container.path))
        last = kept.get(start, last and _like(last))
        if last:
            # A partition keeps its order, whatever its timestamps say.
            time = latest[last.partition] = max(last.timestamp, latest.get(last.partition, 0))
            last = last._replace(timestamp=time)
        found[visit_of(body)].append(Recorded(start, last))
    return [
        VisitFiles(container.path, (container.path,), tuple(sorted(each, key=lambda r: r.time)))
        for each in found.values()
    ]


def _like(last: RecordedMessage) -> RecordedMessage:
    """Return a substitute for a message that was not recorded, like the one before it."""
    return last._replace(key=last.key if is_schema(last.key) else None, headers=())
