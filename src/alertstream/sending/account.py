"""The account of what was sent: what became of the alerts of a visit, or of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alertstream.errors import AlertStreamError

_COUNTS = ("planned", "acknowledged", "failed", "late", "bytes", "seconds")


@dataclass(slots=True)
class VisitSent:
    """What became of one visit's alerts: ``planned == acknowledged + failed``.

    ``late`` are those acknowledged after the interval was over; ``bytes`` are those of the
    acknowledged messages; ``error`` says why some failed, or that the file is damaged.
    """

    visit: str = ""
    file: str = ""
    planned: int = 0
    acknowledged: int = 0
    failed: int = 0
    late: int = 0
    bytes: int = 0
    seconds: float = 0.0
    error: AlertStreamError | None = None

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> VisitSent:
        """Return the account that :meth:`as_json` gave, without its error."""
        return cls(**{name: told[name] for name in ("visit", "file", *_COUNTS)})

    @property
    def rate(self) -> float:
        """Acknowledged alerts a second."""
        return self.acknowledged / self.seconds if self.seconds else 0.0

    def add(self, other: VisitSent) -> None:
        """Add the numbers of another visit's account."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.error = self.error or other.error

    def as_line(self) -> str:
        """Return the account as a line for people."""
        counts = ((self.failed, "failed"), (self.late, "late"))
        extra = "".join(f", {count} {name}" for count, name in counts if count)
        return (
            f"{self.acknowledged} of {self.planned} alerts acknowledged{extra}, "
            f"{self.bytes / 1e6:,.1f} MB in {self.seconds:.2f} s ({self.rate:.0f}/s)"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the account as ``send --format json`` writes it."""
        return {
            "visit": self.visit,
            "file": self.file,
            "alerts": self.acknowledged,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 6),
            "alerts_per_second": round(self.rate, 1),
            "planned": self.planned,
            "acknowledged": self.acknowledged,
            "failed": self.failed,
            "late": self.late,
        }
