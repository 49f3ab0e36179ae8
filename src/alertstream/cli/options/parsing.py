"""What our command line does beyond typer's: where options come from, and help in groups.

An option's value is taken from the command line, else from the environment
(``ALERTSTREAM_SEND_INTERVAL`` for one command before ``ALERTSTREAM_INTERVAL`` for all), else from
the configuration file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from alertstream.cli.options import settings
from alertstream.cli.options.completion import quietly
from alertstream.errors import AlertStreamError

ROOT_OPTIONS = ("--config", "--profile", "--broker")
"""Options of the program itself that take a value; they may stand after the command, too."""
GROUPS = (
    *("Arguments", "Options", "Visits", "Filters", "Without Kafka", "What to read"),
    *("What to show", "Files to write", "Topic", "Connection", "Schemas", "Processes"),
    *("Output", "General"),
)
"""The headings in a command's help (typer's ``rich_help_panel``), in their order."""


@quietly
def complete_profiles(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer the profiles of the configuration file."""
    file = settings.config_file(ctx.params.get("config"))
    return [*tomllib.loads(file.read_text(encoding="utf-8"))["profiles"]]


class Root(TyperGroup):
    """The program: reads the configuration file, so that commands have their defaults."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the program's own options, wherever they stand, and then the file."""
        own, rest = root_options_apart(args)
        # While one of their values is being typed, a shell completes nothing else.
        typing_value = ctx.resilient_parsing and own[-1:] and own[-1] in ROOT_OPTIONS
        left = super().parse_args(ctx, own if typing_value else own + rest)
        given = [ctx.params[name] for name in ("config", "profile", "broker")]
        try:
            ctx.default_map = settings.default_map(self.commands, *given)
        except AlertStreamError:
            # A shell that completes a line is not bothered with what is wrong in the file.
            if not ctx.resilient_parsing:
                raise
        return left


class Command(TyperCommand):
    """A command whose options can be set in the environment, and whose help is in groups."""

    def __init__(self, name: str, *, params: Sequence[Any], **more: Any) -> None:
        for each in params:
            if isinstance(each, TyperOption):
                shared = [each.name] if each.allow_from_autoenv else []
                variables = [f"{name}_{each.name}", *shared]
                each.envvar = [f"ALERTSTREAM_{one.rstrip('_')}".upper() for one in variables]
                each.show_envvar = False
        super().__init__(name, params=[*params], **more)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments and options; BROKER is left out where a profile has it."""
        broker = ctx.lookup_default("broker")
        return super().parse_args(ctx, [broker, *args] if broker else args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, each group under its heading."""
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in GROUPS}
        for each in self.get_params(ctx):
            record = each.get_help_record(ctx)
            if record and isinstance(each, TyperArgument):
                groups["Arguments"].append((each.metavar or each.name, record[1]))
            elif record:
                default = "General" if each.name == "help" else "Options"
                groups[getattr(each, "rich_help_panel", None) or default].append(record)
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def root_options_apart(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options that belong to no one command, as ``--debug``, and all the rest."""
    own: list[str] = []
    rest: list[str] = []
    for before, argument in pairwise(["", *arguments]):
        name = argument.partition("=")[0]
        is_own = before in ROOT_OPTIONS or name in ROOT_OPTIONS or argument == "--debug"
        (own if is_own else rest).append(argument)
    return own, rest


def usage_hint(error: typer.TyperException) -> str:
    """Return where a user finds the right usage."""
    context = getattr(error, "ctx", None)
    return f"see {context.command_path if context else 'alertstream'} --help"
