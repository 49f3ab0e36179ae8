"""``alertstream broker``."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from alertstream.cli.options.settings import warn_if_open
from alertstream.cli.options.shared import Options, Protocol, option_group
from alertstream.cli.terminal.output import DONE, notice, write_line

if TYPE_CHECKING:
    from alertstream.local.broker.cluster import BrokerOptions


_options = option_group("Options")
_connection = option_group("Connection")


@dataclass(frozen=True, kw_only=True)
class Broker(Options):
    """Run a real Kafka on this machine until Ctrl-C, without Docker.

    Example: alertstream broker --data-dir kafka
    """

    port: Annotated[int, _options("Port of the first node; 0 picks free ones.", "PORT")] = 9092
    nodes: Annotated[int, _options("1, or 3 for a cluster with three replicas.", "N")] = 1
    data_dir: Annotated[
        Path | None, _options("Where topics are kept; default: a temporary folder.", "DIR")
    ] = None
    ready_file: Annotated[
        Path | None, _options("File that gets the address once Kafka is ready.", "FILE")
    ] = None
    log_file: Annotated[Path | None, _options("Kafka's log.", "FILE")] = None
    java: Annotated[Path | None, _options("The java executable to use.", "FILE")] = None
    security_protocol: Annotated[
        Protocol,
        _connection(
            "What clients use: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
            "PROTOCOL",
            allow_from_autoenv=False,
        ),
    ] = "PLAINTEXT"
    cert_file: Annotated[
        Path | None, _connection("The server's certificate, PEM.", "FILE", allow_from_autoenv=False)
    ] = None
    key_file: Annotated[
        Path | None,
        _connection("Its key, if that is in a separate file.", "FILE", allow_from_autoenv=False),
    ] = None
    ca_file: Annotated[
        Path | None,
        _connection(
            "Require a client certificate that one of these has signed.",
            "FILE",
            allow_from_autoenv=False,
        ),
    ] = None
    users: Annotated[
        Path | None,
        _connection(
            "File with lines NAME:PASSWORD; the first user may do everything.",
            "FILE",
            allow_from_autoenv=False,
        ),
    ] = None

    def run(self) -> int:
        """Run Kafka until a signal."""
        from alertstream.cli.event_loop import run, until_stopped
        from alertstream.local.broker.cluster import BrokerOptions
        from alertstream.local.broker.security import ListenerSecurity

        security = ListenerSecurity(
            self.security_protocol, self.cert_file, self.key_file, self.ca_file, self.users
        )
        if self.users and self.users.exists():
            warn_if_open(self.users)
        wanted = BrokerOptions(
            self.port,
            self.nodes,
            self.data_dir,
            self.ready_file,
            self.log_file,
            self.java,
            security,
        )
        run(lambda stop: until_stopped(_serve(wanted), stop))
        return DONE


async def _serve(wanted: BrokerOptions) -> None:
    from alertstream.cli.terminal.progress import fetch_progress
    from alertstream.local.broker.cluster import local_broker

    async with AsyncExitStack() as stack:
        with fetch_progress() as progress:
            broker = local_broker(wanted, notice=notice, progress=progress)
            kafka = await stack.enter_async_context(broker)
        write_line(f"Kafka is ready at {kafka.bootstrap} (Ctrl-C ends it)")
        await kafka.wait()
