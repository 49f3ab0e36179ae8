"""Writers of files: Avro, Parquet, HTML, cutouts; all of them get the same alerts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from alertstream.avro.schemas import Schemas
from alertstream.errors import Notice, UsageError
from alertstream.kafka.messages import Message
from alertstream.reading.decoder import ReceivedAlert

if TYPE_CHECKING:
    from alertstream.alert.pictures import Triplet


class Writer:
    """Writes alerts, and maybe undecodable messages, to files; a context that releases them."""

    durable = False
    """Whether flushed content stays, whatever happens next; else only a closed file stays."""
    keeps_undecodable = False
    keeps_cutouts = False
    wants_pictures = False
    """Whether it uses the picture of the next alert."""
    saved = 0
    """Alerts and messages that were flushed."""

    def paths(self) -> set[str]:
        """Return the dotted paths that it needs of a decoded alert."""
        return set()

    def prepare(self, alert: ReceivedAlert, triplet: Triplet | None) -> Callable[[], None]:
        """Return a function that adds an alert: all writers prepare it before any adds it.

        :raises UndecodableError, ArithmeticError, TypeError, ValueError: unexpected types.
        """
        raise NotImplementedError

    def add_undecodable(self, message: Message) -> None:
        """Take a message that cannot be decoded; most kinds of files have no place for it."""

    def flush(self) -> None:
        """Write what was taken, where a partial file is of use.

        :raises DataError: it cannot be written.
        """

    def close(self) -> list[Path]:
        """Write the rest; return the files, which are complete.

        :raises DataError: it cannot be written.
        """
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Release the files; remove those that are not complete."""

    def summary(self, files: Sequence[Path]) -> str:
        """Return what was saved in ``files``, in a line for people."""
        if not files:
            return "nothing matched: no file written"
        return f"{self.saved} saved in {', '.join(map(str, files))}"


def writer_for(
    path: Path,
    topic: str,
    fields: Sequence[str],
    schemas: Schemas,
    notice: Notice,
    *,
    keep: bool = False,
) -> Writer:
    """Return the writer for a file's extension.

    :param topic: where the alerts come from.
    :param fields: the columns of a table; empty is all quantities, and the history.
    :param keep: whether an existing file must stay, since its alerts are not read again.
    :raises UsageError: there is no such kind, or a library for it is not installed.
    """
    if path.suffix == ".avro":
        from alertstream.printing.writers.avro_file import AvroFile

        return AvroFile(path, schemas, notice)
    if path.suffix == ".parquet":
        from alertstream.printing.writers.parquet import ParquetFile

        return ParquetFile(path, fields, schemas, keep=keep)
    if path.suffix in (".html", ".htm"):
        from alertstream.printing.writers.html import HtmlPage

        return HtmlPage(path, topic, notice, keep=keep)
    raise UsageError(
        f"{path.name or path} is not a known kind of file",
        todo="end its name in .avro, .parquet or .html; for a table as text: --format csv > FILE",
    )
