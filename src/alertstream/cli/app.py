"""The command line: parses it, runs the command, and gives every error its exit status."""

from __future__ import annotations

import logging
import os
import platform
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import typer

from alertstream.cli.commands.broker import Broker
from alertstream.cli.commands.demo import Demo
from alertstream.cli.commands.doctor import Doctor
from alertstream.cli.commands.filter import Filter
from alertstream.cli.commands.load import Load
from alertstream.cli.commands.monitor import Monitor
from alertstream.cli.commands.notify import Notify
from alertstream.cli.commands.print import Print
from alertstream.cli.commands.send import Send
from alertstream.cli.commands.without_kafka import schema, watchlist
from alertstream.cli.commands.without_kafka.simulate import Simulate
from alertstream.cli.options import completion
from alertstream.cli.options.log_format import LogFormatter, log_as_asked
from alertstream.cli.options.parsing import (
    Command,
    Root,
    config_file,
    said_elsewhere,
    usage_error,
)
from alertstream.cli.options.shared import Options, option_group
from alertstream.cli.terminal.output import (
    DONE,
    FAILED,
    INTERRUPTED,
    LOG,
    NoticeHandler,
    ReaderGone,
    end_waiting,
    to_output,
    wait_on,
    write_error,
    write_line,
)
from alertstream.errors import AlertStreamError, UsageError

app = typer.Typer(
    name="alertstream",
    cls=Root,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Options can also be set in the environment, as ALERTSTREAM_<OPTION> or "
    "ALERTSTREAM_<COMMAND>_<OPTION>, and in a TOML file.",
)
schema_app = typer.Typer(rich_markup_mode=None, help="Show, compare and register alert schemas.")
app.add_typer(schema_app, name="schema")
watchlist_app = typer.Typer(rich_markup_mode=None, help="Make a watchlist of tables of targets.")
app.add_typer(watchlist_app, name="watchlist")
for each in (Send, Filter, Print, Notify, Monitor, Load, Broker, Simulate, Doctor, Demo):
    app.command(each.__name__.lower(), cls=Command)(each)
for below in (schema.List, schema.Show, schema.Register, schema.Diff, schema.Check):
    schema_app.command(below.__name__.lower(), cls=Command)(below)
watchlist_app.command("build", cls=Command)(watchlist.Build)

_options = option_group("Options")


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        from alertstream import __version__
        from alertstream.local.broker.java import kafka_version

        libraries = [f"{name} {version(name)}" for name in ("aiokafka", "fastavro", "uvloop")]
        parts = (f"Python {platform.python_version()}", f"Kafka {kafka_version()}", *libraries)
        write_line(f"alertstream {__version__}\n{' · '.join(parts)}")
        raise typer.Exit


@completion.quietly
def complete_profiles(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer the profiles of the configuration file."""
    file = config_file(ctx.params.get("config"))
    return [*tomllib.loads(file.read_text(encoding="utf-8"))["profiles"]]


@app.callback()
@dataclass(frozen=True, kw_only=True)
class Program:
    """Send, filter, print and monitor a sky survey's alert stream on Apache Kafka."""

    config: Path | None = _options(
        None, "TOML file with options.", "FILE", envvar="ALERTSTREAM_CONFIG"
    )
    profile: str | None = _options(
        None,
        "Profile in that file to use.",
        "NAME",
        envvar="ALERTSTREAM_PROFILE",
        autocompletion=complete_profiles,
    )
    broker: str | None = _options(None, "Kafka's address, instead of the profile's.", "HOST:PORT")
    debug: bool = _options(
        False, "Show tracebacks, and what Kafka's client logs.", names=("--debug",)
    )
    version: bool = _options(
        False,
        "Show the version and exit.",
        names=("--version",),
        callback=_show_version,
        is_eager=True,
    )


def status_of(arguments: list[str]) -> int:
    """Run the command line with ``arguments``; return its exit status.

    :raises KeyboardInterrupt: a signal came before the command was at work.
    """
    command = typer.main.get_command(app)
    if completion.VARIABLE in os.environ:
        completion.complete(command)
        return DONE
    debug = "--debug" in arguments
    _set_up_logging(debug)
    log_as_asked(arguments)
    try:
        with to_output():
            parsed = command.main(arguments or ["--help"], "alertstream", standalone_mode=False)
        return _run(parsed)
    except AlertStreamError as error:
        write_error(error, traceback=debug)
        return error.exit_status
    except typer.TyperException as error:
        if context := getattr(error, "ctx", None):
            log_as_asked(arguments, context.lookup_default("log_format"))
        write_error(usage_error(error))
        return UsageError.exit_status
    except ReaderGone:
        return DONE
    except Exception as error:
        write_error(error, traceback=debug)
        return FAILED


def _set_up_logging(debug: bool) -> None:
    """Show what this package and filters log, and what libraries log for debugging only."""
    level, text = (logging.DEBUG, logging.BASIC_FORMAT) if debug else (logging.WARNING, None)
    logging.basicConfig(level=level, handlers=[NoticeHandler(LogFormatter(text))])
    for library in () if debug else ("aiokafka", "asyncio", "matplotlib", "textual_image"):
        logging.getLogger(library).addHandler(logging.NullHandler())
        logging.getLogger(library).propagate = False
    LOG.handlers = [NoticeHandler(LogFormatter())]
    LOG.propagate = False


def _run(parsed: Options | int) -> int:
    """Run a command; an integer is the exit status of one that typer has run, such as help."""
    if parsed == INTERRUPTED:
        # This is what typer makes of the exception.
        raise KeyboardInterrupt
    if isinstance(parsed, int):
        return parsed
    from alertstream.system.cancellation import Interrupted

    LOG.setLevel(logging.ERROR if parsed.quiet else logging.NOTSET)
    host = getattr(parsed, "broker", None) or getattr(parsed, "registry", None) or ""
    # Without Kafka, a filter's name may stand where BROKER does.
    wait_on(f"waiting for {host}" if ":" in host else f"{parsed.context.info_name}: working")
    try:
        return parsed.run()
    except UsageError as error:
        where = said_elsewhere(parsed.context, str(error))
        if where is None:
            raise
        raise UsageError(f"{error.what} · {where}", where=error.where, todo=error.todo) from error
    except Interrupted:
        return INTERRUPTED
    finally:
        end_waiting()
