"""The account of commands that read: what became of the messages."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class ReadingAccount:
    """What became of messages: ``read == done + skipped + undecodable + failed + left``.

    :param what: what is done with alerts: they are ``printed``, or ``told``.
    :param failed: alerts on which a filter's code raised an error, or that a command did not take.
    :param messages: sent, each about one or more alerts.
    :param not_shown: cutouts that no picture shows.
    :param files: what each writer has saved, in a line for people.
    """

    what: str
    read: int = 0
    done: int = 0
    skipped: int = 0
    undecodable: int = 0
    failed: int = 0
    messages: int = 0
    not_shown: int = 0
    files: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Alerts with which nothing has been done yet."""
        return self.read - self.done - self.skipped - self.undecodable - self.failed

    def count(self, what: str, number: int = 1) -> None:
        """Count messages as what became of them."""
        setattr(self, what, getattr(self, what) + number)

    def as_lines(self) -> list[str]:
        """Return the account for people."""
        several = "" if self.messages == 1 else "s"
        told = f" in {self.messages} message{several}" if self.messages else ""
        sums = (
            f"{self.read} read = {self.done} {self.what}{told} + {self.skipped} skipped"
            f" + {self.undecodable} undecodable"
        )
        if self.failed:
            sums += f" + {self.failed} failed"
        if self.left:
            sums += f" + {self.left} not {self.what}, and read again next time"
        if self.not_shown:
            sums += f", {self.not_shown} cutouts cannot be shown"
        return [sums, *self.files]
