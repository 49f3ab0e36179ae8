"""The command line: parses, calls, renders; the one place where errors end."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alertstream.cli import completion, options
from alertstream.cli.commands.filter import filter_
from alertstream.cli.commands.print import print_
from alertstream.cli.commands.schema import schema_app, schema_id_of_version
from alertstream.cli.commands.send import send
from alertstream.cli.completion import (
    complete_profiles,
    complete_topics,
    complete_versions,
)
from alertstream.cli.event_loop import Interrupted
from alertstream.cli.option_groups import (
    choice,
    command,
    group,
    make_broker_an_option,
    one_of,
    root_options_apart,
    shared_variable,
)
from alertstream.cli.options import notice_start
from alertstream.cli.parameters import Format
from alertstream.cli.settings import config_defaults
from alertstream.cli.terminal.output import (
    DONE,
    FAILED,
    INTERRUPTED,
    UNDECODABLE,
    ReaderGone,
    as_json,
    notice,
    wait_on,
    write_error,
    write_line,
    write_lines,
)
from alertstream.errors import AlertStreamError, UsageError

if TYPE_CHECKING:
    from alertstream.avro.schemas import Schemas
    from alertstream.kafka.connection import Connection
    from alertstream.local.broker.security import ListenerSecurity
    from alertstream.local.simulate.faults import Faults

app = typer.Typer(
    name="alertstream",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Options can also be set in the environment, as ALERTSTREAM_<OPTION> or "
    "ALERTSTREAM_<COMMAND>_<OPTION>, and in a TOML file.",
)
app.add_typer(schema_app, name="schema")


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        from alertstream import __version__
        from alertstream.local.broker.jars import kafka_version

        libraries = ("aiokafka", "fastavro", "uvloop")
        with_versions = [f"{name} {version(name)}" for name in libraries]
        write_line(f"alertstream {__version__}")
        parts = (f"Python {platform.python_version()}", f"Kafka {kafka_version()}", *with_versions)
        write_line(" · ".join(parts))
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with options.", envvar="ALERTSTREAM_CONFIG")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Table of its profiles to use.",
            envvar="ALERTSTREAM_PROFILE",
            autocompletion=complete_profiles,
        ),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks, and what Kafka's client logs.")
    ] = False,
    version_: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Send, filter, print and monitor a sky survey's alert stream on Apache Kafka."""
    if debug:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    else:
        for library in ("aiokafka", "asyncio"):
            logging.getLogger(library).addHandler(logging.NullHandler())
            logging.getLogger(library).propagate = False
    context.default_map = _configure(context.command, config, profile)


def _configure(root: Any, config: Path | None, profile: str | None) -> dict[str, Any]:
    """Return the defaults of each command; let them do without BROKER if the profile has it."""
    commands = getattr(root, "commands", {})
    known = {name: _options_of(each) for name, each in commands.items()}
    defaults: dict[str, Any]
    defaults, broker = config_defaults(config, known, profile)
    for name, each in commands.items():
        if broker is not None:
            make_broker_an_option(each, broker)
        _list_what_is_repeatable(each, defaults.get(name, {}))
        if below := getattr(each, "commands", {}):
            defaults[name] = dict.fromkeys(below, defaults.get(name, {}))
    return defaults


def _list_what_is_repeatable(each: Any, defaults: dict[str, Any]) -> None:
    """Let the file state one value where an option takes several."""
    for parameter in each.params:
        value = defaults.get(parameter.name)
        if getattr(parameter, "multiple", False) and isinstance(value, str):
            defaults[parameter.name] = [value]


def _options_of(each: Any) -> dict[str, bool]:
    """Return a command's options, or those of all below it, and whether all commands share them."""
    found = {
        parameter.name: shared_variable(parameter.name.rstrip("_")) in (parameter.envvar or ())
        for parameter in each.params
        if parameter.param_type_name == "option" and parameter.name
    }
    for below in getattr(each, "commands", {}).values():
        found |= _options_of(below)
    return found


command(app)(send)
command(app, "filter", without_kafka=("list_", "dry_run", "new"))(filter_)
command(app, "print")(print_)


@command(app)
def monitor(
    *,
    connection: Connection = group(options.connection),
    topics: Annotated[
        list[str],
        typer.Argument(
            metavar="TOPIC",
            help="The topics, or patterns as 'alerts-*'.",
            autocompletion=complete_topics,
        ),
    ],
    refresh: Annotated[float, typer.Option(min=0.1, help="Seconds between refreshes.")] = 1.0,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="PORT", help="Serve the figures to Prometheus."),
    ] = None,
    metrics_address: Annotated[
        str, typer.Option(metavar="HOST", help="Where to serve them; 0.0.0.0: everywhere.")
    ] = "127.0.0.1",
    reading: options.Reading = group(options.reading),
    schemas: Schemas = group(options.schemas),
    format: Annotated[
        str | None,
        choice(
            "format",
            ("live", "text", "json"),
            help="live, text or json; default: live in a terminal.",
        ),
    ] = None,
) -> int:
    """Watch topics: alerts, bytes, rate, latency by visit, and how far behind their groups are.

    Example: alertstream monitor localhost:9092 alerts Filter001
    """
    from alertstream.cli.event_loop import run
    from alertstream.cli.terminal import progress as screen
    from alertstream.cli.terminal.live import monitor_screen
    from alertstream.kafka.consumer import subscribe
    from alertstream.kafka.groups import groups
    from alertstream.monitoring.watch import Watch, watch_stream
    from alertstream.sending.schedule import WallClock

    shown = format or ("live" if sys.stdout.isatty() else "text")
    names = tuple(dict.fromkeys(topics))
    subscription = reading.subscription(names)
    watch = Watch(names, WallClock())

    async def main(stop: asyncio.Event) -> dict[str, Any]:
        await notice_start(connection, subscription, reading)
        with ExitStack() as stack:
            live = None
            if shown == "live":
                live = stack.enter_context(monitor_screen(next(iter(watch.stats), None), stop.set))
            if metrics_port is not None:
                from alertstream.monitoring.prometheus import metrics_server

                at = (metrics_port, metrics_address)
                stack.enter_context(metrics_server(*at, lambda: watch.last))

            async def show(figures: dict[str, Any]) -> None:
                if live is not None:
                    live.take(figures)
                elif shown == "json":
                    await write_lines([as_json(figures)], stop)
                else:
                    await write_lines(screen.monitor_lines(figures), stop)

            def tell(text: str) -> None:
                if live is None:
                    notice(text)
                else:
                    live.notice = text

            async with (
                groups(connection) as found,
                subscribe(
                    connection,
                    subscription,
                    stop=stop,
                    notice=tell,
                    connected=watch.set_connected,
                ) as stream,
            ):
                return await watch_stream(
                    stream,
                    schemas,
                    watch,
                    stop=stop,
                    refresh=refresh,
                    groups=found,
                    show=show,
                    notice=tell,
                )

    final = run(main)
    undecodable = sum(stats["undecodable"] for stats in final["topics"].values())
    return UNDECODABLE if undecodable else DONE


@command(app)
def broker(
    *,
    port: Annotated[int, typer.Option(help="Port of the first node; 0 picks free ones.")] = 9092,
    nodes: Annotated[int, typer.Option(help="1, or 3 for a cluster with three copies.")] = 1,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where topics are kept; default: nowhere, temporarily.")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="File that gets the address once Kafka is ready.")
    ] = None,
    log_file: Annotated[Path | None, typer.Option(help="Kafka's log.")] = None,
    java: Annotated[Path | None, typer.Option(help="The java to run it with.")] = None,
    security: ListenerSecurity = group(options.listener_security, shared=False),
) -> int:
    """Run a real Kafka on this machine until Ctrl-C, without Docker.

    Example: alertstream broker --data-dir kafka
    """
    from alertstream.cli.event_loop import run, until_stopped
    from alertstream.cli.terminal import progress as screen
    from alertstream.local.broker.cluster import BrokerOptions, local_broker

    wanted = BrokerOptions(port, nodes, data_dir, ready_file, log_file, java, security)

    async def serve() -> None:
        with screen.fetch_progress() as progress:
            running = local_broker(wanted, notice=notice, progress=progress)
            kafka = await running.__aenter__()
        try:
            write_line(f"Kafka is ready at {kafka.bootstrap} (Ctrl-C ends it)")
            await kafka.wait()
        finally:
            await running.__aexit__(None, None, None)

    run(lambda stop: until_stopped(serve(), stop))
    return DONE


@command(app)
def simulate(
    *,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Gets one file a visit.")],
    visits: Annotated[int, typer.Option(help="How many visits.")] = 4,
    alerts: Annotated[int, typer.Option(help="Alerts of each.")] = 1000,
    schema: Annotated[
        str,
        typer.Option(help="Version of LSST's alert schema.", autocompletion=complete_versions),
    ] = "10.0",
    history: Annotated[
        str, typer.Option(help="Earlier sources of an alert: a number, or fewest-most.")
    ] = "0-100",
    cutout_size: Annotated[int, typer.Option(help="Edge length of a cutout, pixel.")] = 91,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 1,
    faults: Annotated[
        str | None,
        typer.Option(
            metavar="KIND[,KIND…]",
            help="Add what breaks consumers, one of each kind a visit: all, truncated, trailing, "
            "unknown-id, no-header, garbage, empty, oversize, duplicate, schema-change.",
        ),
    ] = None,
    schemas: Schemas = group(options.folders),
) -> int:
    """Make up realistic visits: container files to send.

    Example: alertstream simulate night --visits 2 --alerts 100
    """
    from alertstream.cli.terminal import progress as screen
    from alertstream.local.simulate.files import SimulateOptions
    from alertstream.local.simulate.files import simulate as simulated

    fewest, _, most = history.partition("-")
    if not (fewest.isdecimal() and (most or fewest).isdecimal()):
        raise UsageError(f"{history} is no history", todo="give a number, or two as in 0-100")
    wanted = SimulateOptions(
        folder=folder,
        visits=visits,
        alerts=alerts,
        schema=schema,
        history=(int(fewest), int(most or fewest)),
        cutout_size=cutout_size,
        seed=seed,
    )
    schema_id = schema_id_of_version(schema)
    found = schemas.by_id(schema_id)
    wrong = _faults(faults, schema_id, schemas) if faults else None
    with screen.simulate_progress(visits * alerts, alerts) as progress:
        files = simulated(wanted, found, progress, wrong)
    for file in files:
        write_line(str(file))
    notice(f"{len(files)} visits of {alerts} alerts, {sum(f.stat().st_size for f in files)} bytes")
    return DONE


def _faults(text: str, schema_id: int, schemas: Schemas) -> Faults:
    from alertstream.local.simulate.faults import FAULTS, Faults

    named = [one_of("fault", kind.strip(), (*FAULTS, "all")) for kind in text.split(",")]
    kinds = FAULTS if "all" in named else tuple(dict.fromkeys(named))
    near = min(set(schemas.ids()) - {schema_id}, key=lambda each: (abs(each - schema_id), -each))
    return Faults(kinds, schema_id, (schemas.by_id(near), near))


@command(app)
def doctor(
    *,
    connection: Connection = group(
        options.with_default_broker(options.connection, "localhost:9092")
    ),
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC",
            help="The topic that is to be read.",
            autocompletion=complete_topics,
        ),
    ] = None,
    reading: options.Reading = group(options.reading),
    schemas: Schemas = group(options.schemas),
    format: Format = "text",
) -> int:
    """Find out why a stream cannot be read: host, rights, topic, registry, clock, schema.

    Example: alertstream doctor localhost:9092 alerts
    """
    from alertstream.cli.event_loop import run, until_stopped
    from alertstream.cli.terminal.progress import finding_line
    from alertstream.local import doctor as examination
    from alertstream.sending.schedule import WallClock

    patient = examination.Patient(connection, topic, reading.group, schemas)
    bad = 0

    async def examine() -> None:
        nonlocal bad
        async for found in examination.examine(patient, WallClock()):
            bad += found.good is False
            write_line(as_json(asdict(found)) if format == "json" else finding_line(found))
            wait_on("looking at the rest")

    run(lambda stop: until_stopped(examine(), stop))
    return FAILED if bad else DONE


@command(app)
def demo(
    *,
    visits: Annotated[int, typer.Option(min=1, max=100, help="How many visits.")] = 3,
    alerts: Annotated[int, typer.Option(min=1, help="Alerts of each.")] = 200,
) -> int:
    """Show everything at once: a local Kafka, simulated visits, filters, a monitor.

    Example: alertstream demo --visits 1
    """
    from alertstream.cli.event_loop import run
    from alertstream.cli.terminal import progress as screen
    from alertstream.filtering.filters import choose_filters
    from alertstream.local import demo as demonstration

    wanted = demonstration.DemoOptions(choose_filters(["1-3"]), visits, alerts, look=screen.look())

    async def main(stop: asyncio.Event) -> demonstration.DemoSummary:
        with (
            screen.fetch_progress() as fetching,
            screen.simulate_progress(visits * alerts, alerts) as simulating,
        ):
            return await demonstration.demo(
                wanted,
                stop=stop,
                write=write_line,
                notice=notice,
                fetching=fetching,
                simulating=simulating,
            )

    screen.show_demo(run(main))
    return DONE


def status_of(arguments: list[str]) -> int:
    """Run the command line with ``arguments``; return its exit status.

    :raises KeyboardInterrupt: a signal came before the command was at work.
    """
    if completion.VARIABLE in os.environ:
        completion.complete(app, _configure)
    own, rest = root_options_apart(arguments)
    arguments = own + rest
    debug = "--debug" in arguments
    try:
        status = int(app(arguments or ["--help"], standalone_mode=False) or DONE)
        if status == INTERRUPTED:
            # This is what typer makes of the exception.
            raise KeyboardInterrupt
        return status
    except AlertStreamError as error:
        if debug:
            raise
        write_error(error)
        return error.exit_status
    except typer.TyperException as error:
        write_error(f"{error.format_message()} · {_usage_hint(error)}")
        return UsageError.exit_status
    except Interrupted:
        return INTERRUPTED
    except ReaderGone:
        # Python must not fail on what is still buffered when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        if debug:
            raise
        write_error(
            f"{type(error).__name__}: {error} · this should not happen · "
            "please report it with what --debug shows"
        )
        return FAILED


def _usage_hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"see {context.command_path if context else 'alertstream'} --help"
