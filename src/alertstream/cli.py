"""The command line: parses, calls, renders; the one place where errors end."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alertstream import __version__, completion, options
from alertstream.completion import (
    complete_filters,
    complete_profiles,
    complete_topics,
    complete_versions,
    complete_where,
    one_of,
)
from alertstream.console import (
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
from alertstream.options import command, group, notice_start, root_options_apart
from alertstream.print_cli import print_
from alertstream.runtime import Interrupted
from alertstream.schema_cli import schema_app, schema_id_of_version

if TYPE_CHECKING:
    from alertstream.broker_security import ListenerSecurity
    from alertstream.connection import Connection
    from alertstream.filters import AlertFilter
    from alertstream.schemas import Schema, Schemas
    from alertstream.sender import VisitSent
    from alertstream.simulate import Faults
    from alertstream.stats import FilterCounts

app = typer.Typer(
    name="alertstream",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Options can also be set in the environment, as ALERTSTREAM_<OPTION> or "
    "ALERTSTREAM_<COMMAND>_<OPTION>, and in a TOML file.",
)
app.add_typer(schema_app, name="schema")

Topic = Annotated[
    str, typer.Argument(metavar="TOPIC", help="The topic.", autocompletion=complete_topics)
]
TOPIC_OR_PATTERN = typer.Argument(
    metavar="TOPIC",
    help="The topic, or a pattern as 'alerts-*'.",
    autocompletion=complete_topics,
)
Format = Annotated[
    str,
    typer.Option(
        help="text, for people, or json, a line an object.", autocompletion=one_of("text", "json")
    ),
]


def _show_version(asked: bool) -> None:
    if asked:
        from alertstream.broker import kafka_version

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
    defaults, broker = options.config_defaults(config, known, profile)
    for name, each in commands.items():
        if broker is not None:
            options.make_broker_an_option(each, broker)
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
        parameter.name: options.shared_variable(parameter.name.rstrip("_"))
        in (parameter.envvar or ())
        for parameter in each.params
        if parameter.param_type_name == "option" and parameter.name
    }
    for below in getattr(each, "commands", {}).values():
        found |= _options_of(below)
    return found


@command(app)
def send(
    *,
    connection: Connection = group(options.connection),
    topic: Topic,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Avro container file, or folder of them; repeatable."),
    ] = None,
    interval: Annotated[
        float, typer.Option(min=0, help="Seconds from burst to burst; 0: as fast as possible.")
    ] = 39.0,
    align: Annotated[
        bool, typer.Option(help="Start bursts at multiples of the interval on the clock.")
    ] = True,
    limit: Annotated[int, typer.Option(min=0, help="Alerts of a visit at most; 0: all.")] = 10_000,
    repeat: Annotated[int, typer.Option(min=0, help="Times over the data; 0: for ever.")] = 1,
    partitions: Annotated[
        int, typer.Option(min=1, help="Partitions of the topic, if it has to be made.")
    ] = 4,
    replication: Annotated[
        int | None, typer.Option(min=1, help="Copies of it; default: 3, if there are 3 brokers.")
    ] = None,
    compression: Annotated[str, typer.Option(help="none, gzip, snappy, lz4 or zstd.")] = "none",
    schema_id: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Send under this schema id.")
    ] = None,
    schemas: Schemas = group(options.schemas),
    subject: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Where --registry has the schemas; default: TOPIC-value."
        ),
    ] = None,
    format: Format = "text",
) -> int:
    """Send alerts to a topic: one file a visit, one burst a visit.

    Example: alertstream send localhost:9092 alerts --interval 2
    """
    from alertstream import kafka, screen, sender
    from alertstream.runtime import run
    from alertstream.schemas import package_folder
    from alertstream.topics import TopicLayout, make_topics
    from alertstream.visits import Cadence, WallClock, visit_files

    options.one_of("format", format, ("text", "json"))
    options.one_of("compression", compression, kafka.COMPRESSIONS)
    files = visit_files(data or [package_folder("data")])
    packers = sender.packers(
        files,
        schemas,
        schema_id=schema_id,
        folder=schemas.keep_in,
        subject=subject or f"{topic}-value",
    )

    def report(visit: VisitSent) -> None:
        if format == "json":
            write_line(as_json(_visit_json(visit)))
        else:
            write_line(f"visit {visit.visit}: {sender.visit_line(visit)}")
        if visit.error:
            write_error(visit.error)

    async def main(stop: asyncio.Event) -> VisitSent:
        layout = TopicLayout(partitions, replication)
        made = (await make_topics(connection, [topic], layout))[topic]
        sends = sender.SendOptions(made, files, Cadence(interval, align, repeat), limit)
        async with kafka.producer(connection, compression=compression, notice=notice) as producer:
            with screen.send_progress() as progress:
                return await sender.send(
                    producer,
                    sends,
                    packers,
                    clock=WallClock(),
                    stop=stop,
                    progress=progress,
                    report=report,
                )

    total = run(main)
    notice(f"sent: {sender.visit_line(total)}")
    return FAILED if total.error else DONE


def _visit_json(visit: VisitSent) -> dict[str, Any]:
    return {
        "visit": visit.visit,
        "file": visit.file,
        "alerts": visit.acknowledged,
        "bytes": visit.bytes,
        "seconds": round(visit.seconds, 6),
        "alerts_per_second": round(visit.rate, 1),
        "planned": visit.planned,
        "acknowledged": visit.acknowledged,
        "failed": visit.failed,
        "late": visit.late,
    }


@command(app, "filter", without_kafka=("list_", "dry_run", "new"))
def filter_(
    *,
    connection: Connection | None = group(options.connection),
    topic: Annotated[str | None, TOPIC_OR_PATTERN],
    filter: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILTER",
            help="Numbers (1), ranges (1-100), class names; default: all of FILE.",
            autocompletion=complete_filters,
        ),
    ] = None,
    filters: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Python file with filters, which is run; repeatable."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="EXPRESSION",
            help="Filter, as in: diaSource.snr > 5 and band == 'g'",
            autocompletion=complete_where,
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="Where --where sends to.")
    ] = None,
    cap: Annotated[int, typer.Option(min=0, help="Alerts per visit and filter; 0: no limit.")] = 20,
    delivery: Annotated[str, typer.Option(help="exactly-once or at-least-once.")] = "exactly-once",
    list_: Annotated[
        bool, typer.Option("--list", help="Show the filters there are; without BROKER and TOPIC.")
    ] = False,
    dry_run: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Try filters on a container file, or a folder of them, and write nothing; "
            "without BROKER and TOPIC.",
        ),
    ] = None,
    new: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS", help="Write a filter to begin with; without BROKER and TOPIC."
        ),
    ] = None,
    reading: options.Reading = group(options.reading),
    schemas: Schemas = group(options.schemas),
    format: Format = "text",
) -> int:
    """Cut a topic down: what a filter lets through goes to the topic of its name.

    Example: alertstream filter localhost:9092 alerts 1-3 --exit-on-eof
    """
    options.one_of("format", format, ("text", "json"))
    if list_ + (dry_run is not None) + (new is not None) > 1:
        raise UsageError("--list, --dry-run and --new exclude each other", todo="give one of them")
    if (list_ or new is not None) and filter:
        raise UsageError("--list and --new take no FILTER", where=filter[0], todo="leave it out")
    if list_:
        return _list_filters(filters or (), format)
    if new is not None:
        return _write_filter(new)
    if dry_run is not None:
        if filter and ":" in filter[0]:
            raise UsageError(
                "--dry-run takes no BROKER and TOPIC", where=filter[0], todo="leave them out"
            )
        chosen = _chosen_filters(filter or (), filters or (), where, output or "where")
        return _dry_run(dry_run, chosen, cap, schemas, format)
    # The command line has seen to that.
    assert connection is not None and topic is not None

    from alertstream import filterer, kafka, screen, sieve
    from alertstream import filters as filter_classes
    from alertstream.runtime import instance_name, run
    from alertstream.stream import subscribe
    from alertstream.topics import TopicLayout, make_topics, require_topics, topic_pattern
    from alertstream.visits import WallClock

    options.one_of("delivery", delivery, filterer.DELIVERIES)
    if (where is None) != (output is None):
        raise UsageError("--where and --output belong together", todo="give both, or none")
    chosen = _chosen_filters(filter or (), filters or (), where, output)
    for each in chosen:
        if topic_pattern([topic]).match(each.topic):
            raise UsageError(
                f"what passes {each.topic} would come back to it",
                where=topic,
                todo="choose other topics to read, or another name",
            )
    _require_fields(chosen, schemas)
    chosen_group = reading.group_or(filter_classes.group_name(chosen))
    exactly_once = delivery == "exactly-once"

    line = _counts_line(format)

    async def main(stop: asyncio.Event) -> list[FilterCounts]:
        async def report(counts: Sequence[FilterCounts]) -> None:
            await write_lines(map(line, counts), stop)

        there = await require_topics(connection, [topic])
        await notice_start(connection, subscription, reading)
        layout = TopicLayout(max(there.values(), default=TopicLayout.partitions))
        made = await make_topics(connection, [each.topic for each in chosen], layout)
        async with (
            kafka.producer(
                connection, transactional_id=instance if exactly_once else None
            ) as producer,
            subscribe(connection, subscription, stop=stop, notice=notice) as stream,
        ):
            outlet = filterer.Outlet(connection, producer, stream, layout, exactly_once, made, stop)
            judge = sieve.Sieve(sieve.FilterOptions(chosen, cap), schemas, WallClock(), notice)
            with screen.reading_progress(stream):
                return await filterer.filter_stream(stream, outlet, judge, stop=stop, report=report)

    with instance_name(chosen_group) as instance:
        subscription = reading.subscription((topic,), chosen_group, instance)
        totals = run(main)
    for counts in totals:
        write_line(line(counts))
    return UNDECODABLE if any(each.undecodable or each.failed for each in totals) else DONE


def _chosen_filters(
    names: Sequence[str], files: Sequence[Path], where: str | None, output: str | None
) -> list[AlertFilter]:
    """Return the filters that the command line means, at least one."""
    from alertstream.filters import choose_filters
    from alertstream.where import WhereFilter

    chosen = choose_filters(names, files)
    if where is not None and output is not None:
        chosen.append(WhereFilter(where, output))
    if not chosen:
        raise UsageError("no filter is named", todo="give its number or class, as in: 1, or 1-100")
    return chosen


def _require_fields(
    filters: Sequence[AlertFilter], schemas: Schemas, more: Sequence[Schema] = ()
) -> None:
    from alertstream.errors import FilterError
    from alertstream.fields import require_fields

    for each in filters:
        require_fields(each.fields or (), schemas, more, where=each.declared_in, error=FilterError)


def _list_filters(files: Sequence[Path], format: str) -> int:
    from alertstream import screen
    from alertstream.filters import TEMPLATES, TemplateFilter, choose_filters

    first, last = "Filter001", f"Filter{TEMPLATES:03}"
    own = choose_filters((), files)
    there = [
        (f"{first} … {last}", TemplateFilter()),
        *((type(each).__name__, each) for each in own),
    ]
    for name, each in there:
        if format == "text":
            write_line(screen.description_line(name, each))
            continue
        fields = None if each.fields is None else list(each.fields)
        about = {"filter": name.replace(" … ", "-"), "description": each.description}
        write_line(as_json({**about, "fields": fields}))
    return DONE


def _write_filter(name: str) -> int:
    from alertstream.new_filter import write_filter

    path = write_filter(name, Path())
    write_line(str(path))
    notice(f"now: pytest {path}, and: alertstream filter --dry-run ALERTS.avro --filters {path}")
    return DONE


def _dry_run(
    path: Path, filters: Sequence[AlertFilter], cap: int, schemas: Schemas, format: str
) -> int:
    from alertstream import rehearsal, screen
    from alertstream.alert_text import heading
    from alertstream.printer import PrintOptions
    from alertstream.runtime import run
    from alertstream.sieve import FilterOptions, Sieve
    from alertstream.visits import WallClock, visit_files

    files = visit_files([path])
    _require_fields(filters, schemas, rehearsal.schemas_of(files))
    sieve = Sieve(FilterOptions(filters, cap), schemas, WallClock(), notice)
    printed = PrintOptions(look=screen.look())
    with screen.share_progress("trying filters") as progress:
        found = run(
            lambda stop: rehearsal.rehearse(
                files, sieve, stop=stop, notice=notice, progress=progress, printed=printed
            )
        )
    line = _counts_line(format)
    for counts in found.counts:
        write_line(line(counts))
    for topic, lines in found.first.items() if format == "text" else ():
        if lines:
            write_line(f"\nthe first that pass {topic}\n{heading(printed.look)}")
        for shown in lines:
            write_line(shown)
    notice(screen.time_line(found))
    for each in filters:
        if each.fields is None:
            notice(f"{type(each).__name__} {screen.NO_FIELDS}")
    if found.error:
        write_error(found.error)
        return FAILED
    return UNDECODABLE if found.incomplete else DONE


def _counts_line(format: str) -> Callable[[FilterCounts], str]:
    from alertstream import screen

    return screen.filter_line if format == "text" else lambda counts: as_json(_counts_json(counts))


def _counts_json(counts: FilterCounts) -> dict[str, Any]:
    names = ("filter", "visit", "seen", "passed", "rejected", "capped", "undecodable", "failed")
    return {name: getattr(counts, name) for name in names}


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
        str | None, typer.Option(help="live, text or json; default: live in a terminal.")
    ] = None,
) -> int:
    """Watch topics: alerts, bytes, rate, latency by visit, and how far behind their groups are.

    Example: alertstream monitor localhost:9092 alerts Filter001
    """
    from alertstream import screen
    from alertstream.groups import groups
    from alertstream.monitor import Watch, watch_stream
    from alertstream.monitor_screen import monitor_screen
    from alertstream.runtime import run
    from alertstream.stream import subscribe
    from alertstream.visits import WallClock

    shown = format or ("live" if sys.stdout.isatty() else "text")
    options.one_of("format", shown, ("live", "text", "json"))
    names = tuple(dict.fromkeys(topics))
    subscription = reading.subscription(names)
    watch = Watch(names, schemas, WallClock())

    async def main(stop: asyncio.Event) -> dict[str, Any]:
        await notice_start(connection, subscription, reading)
        with ExitStack() as stack:
            live = None
            if shown == "live":
                live = stack.enter_context(monitor_screen(next(iter(watch.stats), None), stop.set))
            if metrics_port is not None:
                from alertstream.metrics import metrics_server

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
                watch.notice(text)
                if live is None:
                    notice(text)
                else:
                    live.notice = text

            async with (
                groups(connection) as found,
                subscribe(connection, subscription, stop=stop, notice=tell) as stream,
            ):
                return await watch_stream(
                    stream,
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
    from alertstream import screen
    from alertstream.broker import BrokerOptions, local_broker
    from alertstream.runtime import run, until_stopped

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
    from alertstream import screen
    from alertstream import simulate as simulation

    fewest, _, most = history.partition("-")
    if not (fewest.isdecimal() and (most or fewest).isdecimal()):
        raise UsageError(f"{history} is no history", todo="give a number, or two as in 0-100")
    wanted = simulation.SimulateOptions(
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
        files = simulation.simulate(wanted, found, progress, wrong)
    for file in files:
        write_line(str(file))
    notice(f"{len(files)} visits of {alerts} alerts, {sum(f.stat().st_size for f in files)} bytes")
    return DONE


def _faults(text: str, schema_id: int, schemas: Schemas) -> Faults:
    from alertstream.simulate import FAULTS, Faults

    named = [options.one_of("fault", kind.strip(), (*FAULTS, "all")) for kind in text.split(",")]
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
    from alertstream import doctor as examination
    from alertstream.runtime import run, until_stopped
    from alertstream.screen import finding_line
    from alertstream.visits import WallClock

    options.one_of("format", format, ("text", "json"))
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
    from alertstream import demo as demonstration
    from alertstream import screen
    from alertstream.filters import choose_filters
    from alertstream.runtime import run

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
