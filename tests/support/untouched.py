"""What a library is made of: the attributes of all its modules and of their classes."""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType

COUNTER = "_PRODUCER_CLIENT_ID_SEQUENCE"
"""aiokafka's own count of its producers."""


def attributes(library: str) -> dict[tuple[str, ...], object]:
    """All attributes of a library's modules and classes, which are imported first."""
    package = import_module(library)
    for each in walk_packages(package.__path__, f"{library}."):
        import_module(each.name)
    found: dict[tuple[str, ...], object] = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == library and isinstance(module, ModuleType):
            for attribute, value in vars(module).items():
                found[name, attribute] = value
                if isinstance(value, type) and value.__module__.split(".")[0] == library:
                    found |= {(name, attribute, each): of for each, of in vars(value).items()}
    return {key: value for key, value in found.items() if key[-1] not in (COUNTER, "__doc__")}


def changed(before: dict[tuple[str, ...], object], after: dict[tuple[str, ...], object]) -> list:
    """The names of attributes that are not the same objects any more."""
    nothing = object()
    names = before.keys() | after.keys()
    return sorted(
        name for name in names if before.get(name, nothing) is not after.get(name, nothing)
    )
