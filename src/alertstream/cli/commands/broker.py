"""``alertstream broker``."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from alertstream.cli.options.parsing import warn_if_open
from alertstream.cli.options.shared import Options, Protocol, option_group
from alertstream.cli.terminal.output import DONE, notice, write_line

_options = option_group("Options")
# Clients' settings for other clusters must not configure this one.
_connection = option_group("Connection", allow_from_autoenv=False)


@dataclass(frozen=True, kw_only=True)
class Broker(Options):
    """Run a real Kafka on this machine until Ctrl-C, without Docker.

    Example: alertstream broker --data-dir kafka
    """

    port: int = _options(9092, "Port of the first node; 0 picks free ones.", "PORT")
    nodes: int = _options(1, "1, or 3 for a cluster with three replicas.", "N")
    data_dir: Path | None = _options(
        None, "Where topics are kept; default: a temporary folder.", "DIR"
    )
    reset: bool = _options(
        False, "Begin anew: remove the topics, users and rights in --data-dir.", names=("--reset",)
    )
    ready_file: Path | None = _options(
        None, "File that gets the address once Kafka is ready.", "FILE"
    )
    log_file: Path | None = _options(None, "Kafka's log.", "FILE")
    java: Path | None = _options(None, "The java executable to use.", "FILE")
    security_protocol: Protocol = _connection(
        "PLAINTEXT", "What clients use: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.", "PROTOCOL"
    )
    cert_file: Path | None = _connection(None, "The server's certificate, PEM.", "FILE")
    key_file: Path | None = _connection(None, "Its key, if that is in a separate file.", "FILE")
    ca_file: Path | None = _connection(
        None, "Require a client certificate that one of these has signed.", "FILE"
    )
    users: Path | None = _connection(
        None, "File with lines NAME:PASSWORD; the first user may do everything.", "FILE"
    )

    acl: Path | None = _connection(
        None,
        "File with the other users' rights, in lines USER OPERATION KIND NAME, as in "
        "ada read topic alerts.",
        "FILE",
    )

    def run(self) -> int:
        """Run Kafka until a signal."""
        from alertstream.cli.event_loop import run, until_stopped
        from alertstream.cli.terminal.progress import fetch_progress
        from alertstream.local.broker.cluster import BrokerOptions, local_broker
        from alertstream.local.broker.security import ListenerSecurity

        files = (self.cert_file, self.key_file, self.ca_file, self.users, self.acl)
        security = ListenerSecurity(self.security_protocol, *files)
        if self.users and self.users.exists():
            warn_if_open(self.users)
        where = (self.data_dir, self.reset, self.ready_file, self.log_file, self.java)
        wanted = BrokerOptions(self.port, self.nodes, *where, security)

        async def serve() -> None:
            async with AsyncExitStack() as stack:
                with fetch_progress() as progress:
                    broker = local_broker(wanted, notice=notice, progress=progress)
                    kafka = await stack.enter_async_context(broker)
                lost = "" if self.data_dir else " and forgets all topics: --data-dir DIR keeps them"
                write_line(f"Kafka is ready at {kafka.bootstrap} (Ctrl-C ends it{lost})")
                await kafka.wait()

        run(lambda stop: until_stopped(serve(), stop))
        return DONE
