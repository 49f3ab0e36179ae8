"""The machines of a rehearsal: containers with addresses of their own, on hosts to be cut off.

A host is a bridge, whose uplink is the only way to the switch that all hosts share. Its containers
are on it, and go on reaching each other when the uplink is down: as on a Swarm's network.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deploy.rehearsal.podman import run
from deploy.rehearsal.stack import Service

NETWORK = "10.77.0"
SWITCH = "switch"
IGNORED = {"networks", "logging", "ulimits"}
"""Parts of a service that say nothing here: there is one network, and Podman keeps logs and
limits files in its own way."""
RESTARTS = {"any": "always", "on-failure": "on-failure", "none": "no"}


def ip(*arguments: str) -> None:
    """Run ``ip``."""
    run("ip", *arguments)


class Hosts:
    """The hosts, and the addresses of what runs on them.

    :param names: of services that others find by name; they get the first addresses.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.addresses = {
            name: f"{NETWORK}.{number}" for number, name in enumerate(names, start=11)
        }
        self._numbers = itertools.count(11 + len(names))
        self._links = itertools.count(1)
        self._uplinks: dict[str, str] = {}
        ip("link", "add", SWITCH, "type", "bridge")
        ip("addr", "add", f"{NETWORK}.1/24", "dev", SWITCH)
        ip("link", "set", SWITCH, "up")
        hosts = Path(f"/run/{SWITCH}-hosts")
        lines = (f"{address} {name}\n" for name, address in self.addresses.items())
        hosts.write_text("".join(("127.0.0.1 localhost\n", *lines)))
        # In this rehearsal's mount namespace, not the machine's.
        run("mount", "--bind", hosts, "/etc/hosts")

    def attach(self, host: str, name: str) -> str:
        """Make the network namespace of a container on a host; return its path."""
        if host not in self._uplinks:
            self._add(host)
        address = self.addresses.setdefault(name, f"{NETWORK}.{next(self._numbers)}")
        link = f"link{next(self._links)}"
        ip("netns", "add", name)
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", link, "master", f"host{[*self._uplinks].index(host)}", "up")
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        for each in ("lo", "eth0"):
            ip("-n", name, "link", "set", each, "up")
        return f"/run/netns/{name}"

    def _add(self, host: str) -> None:
        bridge, uplink, port = (f"{what}{len(self._uplinks)}" for what in ("host", "up", "port"))
        self._uplinks[host] = uplink
        ip("link", "add", bridge, "type", "bridge")
        ip("link", "add", uplink, "type", "veth", "peer", "name", port)
        ip("link", "set", uplink, "master", bridge, "up")
        ip("link", "set", port, "master", SWITCH, "up")
        ip("link", "set", bridge, "up")

    def cut_off(self, host: str) -> None:
        """Pull a host's plug: what is sent to it or from it is lost, and nobody is told."""
        ip("link", "set", self._uplinks[host], "down")

    def plug_in(self, host: str) -> None:
        """Let a host be reached again."""
        ip("link", "set", self._uplinks[host], "up")


def options(service: Service, slot: int = 1) -> Iterator[str]:
    """Yield Podman's options, the image and the command that a stack's service means.

    :param slot: which of its replicas it is.
    :raises KeyError: a part of the service is not known here: nothing is left out unseen.
    """
    parts = {key: value for key, value in service.items() if key not in IGNORED}
    deploy = parts.pop("deploy")
    condition = deploy.get("restart_policy", {}).get("condition", "any")
    yield f"--restart={'no' if deploy.get('mode') == 'replicated-job' else RESTARTS[condition]}"
    if memory := deploy.get("resources", {}).get("limits", {}).get("memory"):
        yield f"--memory={memory}"
    image, program = parts.pop("image"), parts.pop("entrypoint", [])
    command = parts.pop("command", [])
    if program:
        yield f"--entrypoint={json.dumps(program)}"
    for part, value in parts.items():
        for option in OPTIONS[part](value):
            yield option.replace("{{.Task.Slot}}", str(slot))
    yield from (image, *command)


def _volumes(volumes: Sequence[Any]) -> Iterator[str]:
    for each in volumes:
        if isinstance(each, str):
            yield f"--volume={each}"
        else:
            read_only = ":ro" if each.get("read_only") else ""
            yield f"--volume={each['source']}:{each['target']}{read_only}"


OPTIONS = {
    "cap_drop": lambda names: (f"--cap-drop={each}" for each in names),
    "configs": lambda configs: (
        f"--volume={each['source']}:{each['target']}:ro" for each in configs
    ),
    "environment": lambda values: (f"--env={key}={value}" for key, value in values.items()),
    # Systemd asks, where it is there; here the rehearsal does.
    "healthcheck": lambda check: [f"--health-cmd={json.dumps(check['test'][1:])}"],
    "init": lambda wanted: ["--init"] * wanted,
    "secrets": lambda secrets: (
        f"--secret={each['source']},type=mount,uid={each['uid']},mode={each['mode']:04o}"
        for each in secrets
    ),
    "stop_grace_period": lambda period: [f"--stop-timeout={period.removesuffix('s')}"],
    "volumes": _volumes,
}
