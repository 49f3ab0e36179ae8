"""What commands share that read what is selected: options, and for two of them how they do it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from alertstream.cli.options.metrics import MetricsOptions
from alertstream.cli.options.reading import ReadingOptions
from alertstream.cli.options.schemas import DecodingOptions
from alertstream.cli.options.selection import SelectionOptions
from alertstream.cli.terminal.output import DONE, UNDECODABLE, notice
from alertstream.errors import info

if TYPE_CHECKING:
    import asyncio

    from alertstream.kafka.connection import Connection
    from alertstream.kafka.subscription import Subscription
    from alertstream.printing.account import ReadingAccount
    from alertstream.printing.notifications.notifier import Notifier
    from alertstream.printing.printer import Printer


@dataclass(frozen=True, kw_only=True)
class SelectedReading(ReadingOptions, DecodingOptions, SelectionOptions, MetricsOptions):
    """Reads a topic's selected alerts."""

    def read_with(
        self, reader: Printer | Notifier, connection: Connection, subscription: Subscription
    ) -> int:
        """Feed a reader from the topic until the end or a signal; write the account."""
        from alertstream.cli.event_loop import run
        from alertstream.cli.terminal.progress import reading_progress
        from alertstream.kafka.consumer import subscribe
        from alertstream.monitoring.figures import printing_figures

        async def main(stop: asyncio.Event) -> ReadingAccount:
            await self.notice_start(connection, subscription)
            with reading_progress() as progress:
                async with (
                    self.serving() as served,
                    subscribe(
                        connection, subscription, stop=stop, notice=notice, progress=progress
                    ) as consumer,
                ):
                    name = str(self.context.command.name)
                    served.figures = partial(printing_figures, name, reader, consumer)
                    served.unready = consumer.unready
                    return await reader.run(consumer, stop)

        account = run(main)
        if not account.read:
            self.notice_nothing()
        for line in account.as_lines():
            notice(info(line))
        return UNDECODABLE if account.undecodable or account.failed else DONE
