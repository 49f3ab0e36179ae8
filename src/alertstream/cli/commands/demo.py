"""``alertstream demo``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alertstream.cli.options.shared import Options, option_group
from alertstream.cli.terminal.output import DONE, notice, write_line

if TYPE_CHECKING:
    from rich.table import Table

    from alertstream.local.demo import DemoSummary


_options = option_group("Options")


@dataclass(frozen=True, kw_only=True)
class Demo(Options):
    """Try everything at once on a local Kafka.

    Simulates visits, sends them, filters them, watches and prints.

    Example: alertstream demo --visits 1
    """

    visits: int = _options(3, "How many visits.", "N", min=1, max=100)
    alerts: int = _options(200, "Alerts per visit.", "N", min=1)

    def run(self) -> int:
        """Run the demonstration and show its summary."""
        from rich.console import Console

        from alertstream.cli.event_loop import run
        from alertstream.cli.terminal.look import look
        from alertstream.cli.terminal.progress import fetch_progress, simulate_progress
        from alertstream.local.demo import demo

        total = self.visits * self.alerts
        with fetch_progress() as fetching, simulate_progress(total, self.alerts) as simulating:
            summary = run(
                lambda stop: demo(
                    self.visits,
                    self.alerts,
                    stop=stop,
                    look=look(),
                    write=write_line,
                    notice=notice,
                    fetching=fetching,
                    simulating=simulating,
                )
            )
        Console(file=sys.stdout).print(_table(summary))
        return DONE


def _table(summary: DemoSummary) -> Table:
    """Return a table of what the demonstration has sent, seen, passed and printed."""
    from rich.table import Table

    from alertstream.local.demo import TOPIC

    table = Table("topic", title="what became of the alerts", title_justify="left")
    for name in ("sent or passed", "capped", "seen by monitor", "printed"):
        table.add_column(name, justify="right")
    seen = {name: str(stats["alerts"]) for name, stats in summary.monitored["topics"].items()}
    table.add_row(TOPIC, f"{summary.sent.acknowledged} sent", "", seen[TOPIC])
    for counts in summary.filtered:
        topic, passed = counts.filter, f"{counts.passed} of {counts.seen} passed"
        printed = str(summary.printed[topic])
        table.add_row(topic, passed, str(counts.capped), seen[topic], printed)
    return table
