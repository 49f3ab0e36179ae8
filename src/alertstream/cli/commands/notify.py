"""``alertstream notify``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alertstream.cli.commands.reading import SelectedReading
from alertstream.cli.options.parsing import services
from alertstream.cli.options.reading import AUTO, start_of
from alertstream.cli.options.shared import option_group, topic_argument
from alertstream.cli.terminal.output import notice, write_line
from alertstream.errors import UsageError

if TYPE_CHECKING:
    from alertstream.printing.notifications.message import Message
    from alertstream.printing.notifications.notifier import Destination
    from alertstream.printing.notifications.services import Service

_whom = option_group("Whom to tell", allow_from_autoenv=False)
_messages = option_group("Messages", allow_from_autoenv=False)

SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600, "hour": 3600, "day": 86400}


@dataclass(frozen=True, kw_only=True)
class Notify(SelectedReading):
    """Tell people about a topic's alerts, or what filters pass.

    Example: alertstream notify localhost:9092 alerts --preview --from -5 --exit-on-eof
    """

    topic: str = topic_argument()
    to: list[str] | None = _whom(
        None,
        "Service to send to: its name in the configuration file's [services], or its apprise "
        "URL; repeatable.",
        "NAME",
    )
    exec_: str | None = _whom(
        None,
        "Instead, run this for each alert, with its JSON as a line on standard input.",
        "COMMAND",
        names=("--exec",),
    )
    preview: bool = _whom(
        False, "Instead, show the messages, and commit nothing.", names=("--preview",)
    )
    at_most: str = _messages(
        "10/min",
        "Maximum rate of messages: /s, /min, /h or /day; alerts that come together share one.",
        "N/TIME",
    )
    template: Path | None = _messages(
        None, "File with the jinja2 template of an alert's text in a message.", "FILE"
    )
    title: str | None = _messages(None, "Title of a message, a jinja2 template.", "TEXT")

    def run(self) -> int:
        """Notify until the end or a signal."""
        if sum(map(bool, (self.to, self.exec_ is not None, self.preview))) != 1:
            what = "give one of --to, --exec and --preview"
            raise UsageError(what, todo="for several, run a command for each")
        interval, schemas = self.interval(), self.known_schemas()
        selection = self.selection(schemas, notice)
        from alertstream.printing.notifications.command import Command
        from alertstream.printing.notifications.message import Composer
        from alertstream.printing.notifications.notifier import Notifier

        told = self._services()
        destinations: list[Destination] = [*told] if told else [Preview()]
        command = None if self.exec_ is None else Command(self.exec_)
        pictures = any(each.takes_pictures for each in told)
        composer = Composer(self.topic, self.template, self.title, pictures=pictures, notice=notice)
        notifier = Notifier(
            schemas,
            composer,
            destinations,
            interval=interval,
            selection=selection,
            command=command,
            notice=notice,
        )
        connection = self.connection()
        # Commands with different recipients must not share alerts.
        labels = [self.exec_ or "", *(each.label for each in told)]
        named = replace(self, group=self.group or (None if self.preview else AUTO))
        subscription = named.subscription(self.topic, more=labels)
        subscription = replace(subscription, start=start_of(self.from_ or "latest"))
        return named.read_with(notifier, connection, subscription)

    def interval(self) -> float:
        """Return the seconds between messages, at least.

        :raises UsageError: ``--at-most`` is not valid.
        """
        found = re.fullmatch(r"(\d{1,9}) ?/ ?(\w+)", self.at_most.strip())
        seconds = SECONDS.get(found[2].lower(), 0) if found else 0
        if not found or not int(found[1]) or not seconds:
            what = f"{self.at_most} is not a valid --at-most"
            raise UsageError(what, todo="give a number and a time, such as 10/min or 2/h")
        return seconds / int(found[1])

    def _services(self) -> list[Service]:
        """Return the services of ``--to``.

        :raises UsageError: there is no such service, or its URL is not valid.
        """
        if not self.to:
            return []
        from alertstream.printing.notifications.services import Service

        named = services(self.context.find_root().params.get("config"))
        source = self.context.get_parameter_source("to")
        seen = source is not None and source.name == "COMMANDLINE"
        found: list[Service] = []
        for each in self.to:
            if "://" not in each:
                if each not in named:
                    there = ", ".join(named) or "none"
                    todo = f"write its URL there, below [services]; there are: {there}"
                    raise UsageError(
                        f"there is no service {each} in the configuration file", todo=todo
                    )
                found += [Service(url, each) for url in named[each]]
                continue
            service = Service(each)
            alike = sum(other.label.startswith(service.label) for other in found)
            service.label += f" ({alike + 1})" if alike else ""
            found.append(service)
            if seen and service.shows_secrets:
                notice(
                    f"others on this machine can see the secrets of {service.label} in the list of "
                    "processes · write its URL into the configuration file, below [services]"
                )
        return found


class Preview:
    """Shows messages instead of sending them."""

    label = "preview"

    def send(self, message: Message) -> None:
        """Write a message to standard output."""
        for line in (message.title, "", *message.text.split("\n"), ""):
            write_line(line)
