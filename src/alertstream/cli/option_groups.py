"""How functions become commands: where their options come from, and in which order they stand.

An option is taken from the command line, else from the environment (``ALERTSTREAM_SEND_INTERVAL``
for one command, ``ALERTSTREAM_INTERVAL`` for all that have it), else from the configuration file.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand
from typer.models import OptionInfo

from alertstream.cli.terminal.output import set_quiet, waiting
from alertstream.errors import UsageError

PREFIX = "ALERTSTREAM"
ROOT_OPTIONS = ("--config", "--profile")
"""Options of the program itself that take a value."""

Command = Callable[..., Any]


@dataclass(frozen=True)
class Group:
    """Stands as the default of a command's parameter that several options make together.

    ``make`` has these options as its own parameters, and returns the parameter's value, which is
    None if one is left out that it cannot do without. What the environment or the configuration
    file set for all commands holds for ``shared`` options only.
    """

    make: Callable[..., Any]
    shared: bool = True


def group(make: Callable[..., Any], *, shared: bool = True) -> Any:
    """Return the default that stands for a group of options."""
    return Group(make, shared)


def command(
    app: typer.Typer, name: str | None = None, without_kafka: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Register a command whose parameters may be groups of options.

    :param without_kafka: parameters with which it needs no Kafka, nor takes BROKER and TOPIC.
    """

    def register(function: Command) -> Command:
        called = name or function.__name__
        members: dict[str, list[str]] = {}
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(function).parameters.values():
            if isinstance(parameter.default, Group):
                made = _parameters(parameter.default.make, called, shared=parameter.default.shared)
                members[parameter.name] = [each.name for each in made]
                parameters += made
            else:
                parameters += _parameters(function, called, only=parameter.name)
        parameters += _parameters(quiet, called)

        @wraps(function)
        def run(quiet: bool, **values: Any) -> Any:
            set_quiet(quiet)
            host = values.get("broker") or values.get("registry")
            with waiting(f"waiting for {host}" if host else f"{called}: working"):
                for parameter, names in members.items():
                    make = inspect.signature(function).parameters[parameter].default.make
                    made_of = {each: values.pop(each) for each in names}
                    complete = all(made_of[each] is not None for each in _required(make))
                    values[parameter] = make(**made_of) if complete else None
                return function(**values)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        app.command(called, cls=_without_kafka(without_kafka) if without_kafka else None)(run)
        return function

    return register


def choice(what: str, known: Sequence[str], *names: str, help: str = "") -> Any:
    """Return an option that takes one of a few words, in upper or lower case.

    A shell offers these, and any other is a :class:`UsageError` that names them.

    :param help: default: the words.
    """
    words = f"{', '.join(known[:-1])} or {known[-1]}."
    folded = {each.casefold(): each for each in known}

    def checked(given: str | None) -> str | None:
        return None if given is None else one_of(what, folded.get(given.casefold(), given), known)

    def offered(incomplete: str) -> list[str]:
        return [each for each in known if each.startswith(incomplete)]

    return typer.Option(*names, help=help or words, callback=checked, autocompletion=offered)


def one_of(what: str, value: str, known: Sequence[str]) -> str:
    """Return ``value`` if it is known.

    :raises UsageError: it is not.
    """
    if value not in known:
        raise UsageError(f"there is no {what} {value}", todo=f"choose {', '.join(known)}")
    return value


def quiet(
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No notices, and no bars; errors are told.")
    ] = False,
) -> bool:
    """Return whether only errors are told."""
    return quiet


def _required(make: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(make).parameters.values()
    return [each.name for each in parameters if each.default is each.empty]


def _without_kafka(names: Collection[str]) -> type[TyperCommand]:
    """Return the class of a command that takes no BROKER and TOPIC with one of these parameters."""

    class WithoutKafka(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if self._does_without(ctx, list(args)):
                self.params = [each for each in self.params if each.name not in ("broker", "topic")]
            return super().parse_args(ctx, args)

        def _does_without(self, ctx: Any, args: list[str]) -> bool:
            given, _, _ = self.make_parser(ctx).parse_args(args)
            chosen = [each for each in self.params if each.name in names]
            return any(
                each.handle_parse_result(ctx, given, [])[0] not in (None, False) for each in chosen
            )

    return WithoutKafka


def _parameters(
    function: Command, command_name: str, only: str | None = None, *, shared: bool = True
) -> list[inspect.Parameter]:
    """Return a function's parameters for typer, with the names of their environment variables."""
    named = [
        each
        for each in inspect.signature(function).parameters.values()
        if only is None or each.name == only
    ]
    raw = {each.name: each.annotation for each in named}
    hints = get_type_hints(
        type("Hints", (), {"__annotations__": raw}),
        globalns=function.__globals__,
        include_extras=True,
    )
    return [
        each.replace(
            annotation=_with_environment(hints[each.name], command_name, each.name, shared),
            kind=inspect.Parameter.KEYWORD_ONLY,
        )
        for each in named
    ]


def _with_environment(annotation: Any, command_name: str, name: str, shared: bool) -> Any:
    kind, *extras = get_args(annotation) or (annotation,)
    if not extras or not isinstance(extras[0], OptionInfo):
        return annotation
    option = copy(extras[0])
    name = name.rstrip("_")
    option.envvar = [f"{PREFIX}_{command_name}_{name}".upper()]
    if shared:
        option.envvar.append(shared_variable(name))
    option.show_envvar = False
    return Annotated[kind, option]


def shared_variable(name: str) -> str:
    """Return the environment variable that sets an option of all commands that have it."""
    return f"{PREFIX}_{name}".upper()


def make_broker_an_option(command: Any, broker: str) -> None:
    """Let a command do without BROKER, since a profile has it; ``--broker`` names another."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def connect(broker: Annotated[str, typer.Option(help="Kafka's address.")] = broker) -> None:
        pass

    (option,) = typer.main.get_command(app).params
    for place, parameter in enumerate(command.params):
        if parameter.name == "broker" and parameter.param_type_name == "argument":
            command.params[place] = option


def root_options_apart(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options that belong to no one command, as ``--debug``, and all the rest.

    They may stand anywhere.
    """
    first, rest, remaining = [], [], iter(arguments)
    for argument in remaining:
        if argument == "--debug" or argument.startswith(tuple(f"{o}=" for o in ROOT_OPTIONS)):
            first.append(argument)
        elif argument in ROOT_OPTIONS:
            first += [argument, *[value for value in [next(remaining, None)] if value]]
        else:
            rest.append(argument)
    return first, rest


def worker_command(*more: str) -> list[str]:
    """Return this process's command once more, as that of one of its workers."""
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    added = ["--worker", "--workers", "1", "--format", "json", *more]
    return [sys.executable, "-m", "alertstream", *given[:end], *added, *given[end:]]
