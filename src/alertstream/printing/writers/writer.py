"""What every kind of file has in common for who writes alerts into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from alertstream.kafka.messages import Message
from alertstream.reading.decoder import ReceivedAlert

if TYPE_CHECKING:
    from alertstream.alert.pictures import Triplet


class Writer:
    """Takes alerts, and perhaps what is undecodable, to files; a context that ends them."""

    durable = False
    """Whether what is flushed stays, whatever comes after; else it stays once all is closed."""
    keeps_undecodable = False
    keeps_cutouts = False
    saved = 0
    """Alerts and messages that were taken, as far as flushed."""

    def paths(self) -> set[str]:
        """Return the dotted paths that it needs of a decoded alert."""
        return set()

    @property
    def wants_pictures(self) -> bool:
        """Whether it uses the picture of the next alert."""
        return False

    def prepare(self, alert: ReceivedAlert, triplet: Triplet | None) -> Callable[[], None]:
        """Return what takes an alert, so that all writers take it or none does.

        :raises UndecodableError, ArithmeticError, TypeError, ValueError: its fields have unexpected
            types.
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
