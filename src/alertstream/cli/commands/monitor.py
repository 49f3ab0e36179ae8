"""``alertstream monitor``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from alertstream.cli.commands.reading import SelectedReading
from alertstream.cli.options.shared import TargetOptions, option_group, topic_argument
from alertstream.cli.terminal.output import DONE, UNDECODABLE, as_json, notice, write_lines
from alertstream.errors import Notice

if TYPE_CHECKING:
    import asyncio

    from alertstream.cli.terminal.live import MonitorScreen
    from alertstream.monitoring.server import Served
    from alertstream.monitoring.watch import Watch


_output = option_group("Output")


@dataclass(frozen=True, kw_only=True)
class Monitor(SelectedReading, TargetOptions):
    """Watch topics: rates, latency by visit, and lag of their groups.

    Example: alertstream monitor localhost:9092 alerts Filter001
    """

    topics: list[str] = topic_argument(help="The topics, or patterns such as 'alerts-*'.")
    refresh: float = _output(1.0, "Seconds between refreshes.", "SECONDS", min=0.1)
    format: Literal["live", "text", "json"] | None = _output(
        None, "live, text or json; default: live in a terminal.", "FORMAT"
    )

    def run(self) -> int:
        """Watch until the end, or a signal."""
        from alertstream.cli.event_loop import run
        from alertstream.kafka.admin import groups
        from alertstream.kafka.consumer import subscribe
        from alertstream.monitoring.figures import monitor_figures
        from alertstream.monitoring.watch import Watch, watch_stream

        connection, to, schemas = self.connection(), self.target(), self.known_schemas()
        watch = Watch(tuple(dict.fromkeys(self.topics)), self.selection(schemas, notice))
        subscription = self.subscription(*watch.topics)

        async def main(stop: asyncio.Event) -> dict[str, Any]:
            await self.notice_start(connection, subscription)
            async with self.serving() as served:
                return await watched(stop, served)

        async def watched(stop: asyncio.Event, served: Served) -> dict[str, Any]:
            with self._display(watch, stop) as display:
                notice = display.notice
                async with (
                    groups(connection, to) as found,
                    subscribe(connection, subscription, stop=stop, notice=notice) as consumer,
                ):
                    served.figures = partial(monitor_figures, watch, consumer)
                    served.unready = consumer.unready
                    return await watch_stream(
                        consumer,
                        schemas,
                        watch,
                        stop=stop,
                        refresh=self.refresh,
                        groups=found,
                        show=display.show,
                        notice=notice,
                    )

        final = run(main)
        if not any(each["bytes"] for each in final["topics"].values()):
            self.notice_nothing()
        wrong = any(each["undecodable"] or each["failed"] for each in final["topics"].values())
        return UNDECODABLE if wrong else DONE

    def _display(
        self, watch: Watch, stop: asyncio.Event
    ) -> AbstractContextManager[MonitorScreen | Lines]:
        """Give the display of the figures: a live screen, or lines."""
        format = self.format or ("live" if sys.stdout.isatty() else "text")
        if format != "live":
            return nullcontext(Lines(format, stop))
        from alertstream.cli.terminal.live import monitor_screen

        return monitor_screen(next(iter(watch.stats), None), stop.set)


@dataclass(frozen=True)
class Lines:
    """Writes the monitor's figures as lines, text or JSON, at each refresh."""

    format: str
    stop: asyncio.Event
    notice: Notice = notice

    async def show(self, figures: dict[str, Any]) -> None:
        """Write the figures."""
        lines = [as_json(figures)] if self.format == "json" else _lines(figures)
        await write_lines(lines, self.stop)


def _lines(figures: dict[str, Any]) -> Iterator[str]:
    """Yield the monitor's figures as a line for each topic."""
    clock = time.strftime("%H:%M:%S", time.localtime(figures["time"]))
    for topic, stats in figures["topics"].items():
        line = (
            f"{clock}  {topic}  {stats['alerts']:,} alerts  {stats['bytes'] / 1e6:,.1f} MB"
            f"  {stats['alerts_per_second']:,.0f}/s"
        )
        others = ((stats[name], name) for name in ("skipped", "failed", "undecodable"))
        line += "".join(f"  {count:,} {name}" for count, name in others if count)
        for visit, of_visit in list(stats["visits"].items())[-1:]:
            line += f"  visit {visit}: {of_visit['alerts']} alerts"
            kafka = {name: of_visit[f"latency_{name}"] for name in ("p50_ms", "p99_ms")}
            shutter = of_visit["latency_from_shutter"] or {"p50_ms": None}
            for name, each in (("latency", kafka), ("from the shutter", shutter)):
                if each["p50_ms"] is not None:
                    median, p99 = map(_milliseconds, (each["p50_ms"], each["p99_ms"]))
                    line += f", {name} {median} median, {p99} p99"
        yield line


def _milliseconds(value: int) -> str:
    return f"{value} ms" if value < 10_000 else f"{value / 1000:,.0f} s"
