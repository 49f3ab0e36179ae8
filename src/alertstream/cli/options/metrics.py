"""Options of metrics and probes.

There is no ``from __future__ import annotations``, as typer evaluates these where a command is
defined, not here.
"""

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alertstream.cli.options.shared import Options, option_group
from alertstream.errors import notice

if TYPE_CHECKING:
    from alertstream.monitoring.server import Served

_watching = option_group("Watching")


@dataclass(frozen=True, kw_only=True)
class MetricsOptions(Options):
    """Where metrics and probes are served."""

    metrics_port: int | None = _watching(
        None,
        "Serve /metrics to Prometheus, /healthz and /readyz to probes; 0: any port.",
        "PORT",
        min=0,
        max=65535,
    )
    metrics_address: str = _watching(
        "127.0.0.1", "Address to serve them on; 0.0.0.0: all interfaces.", "HOST"
    )

    def serving(self, *, worker: bool = False) -> "AbstractAsyncContextManager[Served]":
        """Serve what the context sets as long as it lasts, if the options ask for it.

        :param worker: the parent process serves it.
        :raises UsageError: prometheus-client is not installed, or the port is taken.
        """
        from alertstream.monitoring.server import Served, serving

        if worker or self.metrics_port is None:
            return nullcontext(Served())
        return serving(self.metrics_port, self.metrics_address, notice)
