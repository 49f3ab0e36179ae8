"""The rights that each command needs on a Kafka that has users: one table."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

from alertstream.filtering.shared_caps import caps_topic
from alertstream.kafka.topics import STAND_IN_SUFFIX, UNDECODABLE_SUFFIX, is_pattern

SOURCE, TARGET, ELSEWHERE = "BROKER", "--to, else BROKER", "--to"

WITH_GROUP = "with --group"


class Need(NamedTuple):
    """A line of the table: operations of one kind of resource.

    :param kafka: the one that is read (``SOURCE``), written (``TARGET``), or written if it is
        another one (``ELSEWHERE``).
    :param name: with placeholders TOPIC, GROUP and OUTPUT; a ``*`` at its end matches any ending.
    :param optional: whether it is needed only for its ``purpose``.
    """

    commands: str
    kafka: str
    operations: tuple[str, ...]
    kind: str
    name: str
    purpose: str = ""
    optional: bool = False


NEEDS = (
    Need("send", SOURCE, ("create",), "topic", "TOPIC", "where it does not exist yet"),
    Need("send", SOURCE, ("write",), "topic", "TOPIC"),
    Need("filter print notify monitor load doctor", SOURCE, ("read",), "topic", "TOPIC"),
    Need("filter", TARGET, ("read",), "group", "GROUP"),
    Need("filter", TARGET, ("write",), "transactional-id", "GROUP*", "for exactly-once"),
    Need("filter", TARGET, ("create", "write"), "topic", "OUTPUT"),
    Need("filter", TARGET, ("create", "write"), "topic", f"TOPIC{UNDECODABLE_SUFFIX}"),
    Need("filter", TARGET, ("create", "read", "write"), "topic", "CAPS", "for --cap and --unique"),
    Need(
        *("filter", ELSEWHERE, ("alter", "create", "read"), "topic", f"TOPIC{STAND_IN_SUFFIX}"),
        "stands for the topic in the group",
    ),
    Need("print", SOURCE, ("read",), "group", "GROUP", WITH_GROUP, True),
    Need("notify", SOURCE, ("read",), "group", "AUTO", "its own, if --group names none"),
    Need("monitor", TARGET, ("describe",), "group", "*", "for the lag of groups", True),
    Need("doctor", TARGET, ("describe",), "group", "GROUP", WITH_GROUP, True),
)
"""Which rights there are, and what each covers: https://kafka.apache.org/documentation/#security_authz
(to read or write a topic implies to describe it)."""


@dataclass(frozen=True)
class Right:
    """What a user may do with a resource, named as Kafka does, and what for."""

    command: str
    kafka: str
    principal: str
    resource: str
    name: str
    pattern: str
    operations: tuple[str, ...]
    purpose: str
    optional: bool


@dataclass(frozen=True)
class Use:
    """What is read and written, by whom.

    :param outputs: the filters' topics; a ``*`` at the end matches any ending.
    :param source: the address of the Kafka that is read.
    :param to: that of the Kafka that is written to, if it is another one.
    :param auto: prefix of the group names that commands derive themselves; None: all commands use
        ``group``.
    """

    topic: str
    group: str
    outputs: Sequence[str]
    source: str
    to: str | None = None
    user: str = "NAME"
    to_user: str = "NAME"
    auto: str | None = None

    def rights(self) -> Iterator[Right]:
        """Yield the rights, by command."""
        for command in dict.fromkeys(each for need in NEEDS for each in need.commands.split()):
            for need in NEEDS:
                here = self.to or need.kafka != ELSEWHERE
                here = here and (self.auto is None or need.purpose != WITH_GROUP)
                if here and command in need.commands.split():
                    names = self.outputs if need.name == "OUTPUT" else [self._name(need.name)]
                    yield from (self._right(command, need, name) for name in names)

    def _right(self, command: str, need: Need, name: str) -> Right:
        at = (self.source, self.user)
        if self.to and need.kafka != SOURCE:
            at = (self.to, self.to_user)
        prefixed = name.endswith("*") and name != "*"
        return Right(
            command,
            kafka=at[0],
            principal=f"User:{at[1]}",
            resource=need.kind.upper().replace("-", "_"),
            name=name.removesuffix("*") if prefixed else name,
            pattern="PREFIXED" if prefixed else "LITERAL",
            operations=tuple(map(str.upper, need.operations)),
            purpose=need.purpose,
            optional=need.optional,
        )

    def _name(self, name: str) -> str:
        if name == "AUTO":
            return self.group if self.auto is None else f"{self.auto}notify-*"
        if name == "CAPS":
            return caps_topic(self.group)
        if name.startswith("TOPIC") and is_pattern(self.topic):
            # Kafka knows only prefixes, which allow more than the pattern.
            return f"{re.split(r'[*?[]', self.topic)[0]}*"
        return name.replace("TOPIC", self.topic).replace("GROUP", self.group)


def as_commands(rights: Iterable[Right]) -> Iterator[str]:
    """Yield lines for a shell, of Kafka's own tool; one names all resources of the same rights."""
    together: dict[Right, list[str]] = {}
    for each in rights:
        together.setdefault(replace(each, name=""), []).append(each.name)
    said = ""
    for each, names in together.items():
        if each.command != said:
            yield f"# {each.command}"
        said = each.command
        options = [("--operation", operation.capitalize()) for operation in each.operations]
        options += [(f"--{each.resource.lower().replace('_', '-')}", name) for name in names]
        if each.pattern != "LITERAL":
            options.append(("--resource-pattern-type", each.pattern.lower()))
        words = ["kafka-acls.sh", "--bootstrap-server", each.kafka, "--add"]
        words += ["--allow-principal", each.principal, *chain.from_iterable(options)]
        about = ", ".join(["optional"] * each.optional + [each.purpose] * bool(each.purpose))
        yield shlex.join(words) + (f"  # {about}" if about else "")
