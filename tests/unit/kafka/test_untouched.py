"""Importing the library changes nothing for others that use aiokafka."""

from __future__ import annotations

import subprocess
import sys

CODE = """
from tests.support.untouched import attributes, changed
import logging
before = attributes("aiokafka")
filters = {name: list(logging.getLogger(name).filters + logging.getLogger(name).handlers)
           for name in ("", "aiokafka", "aiokafka.conn")}
import alertstream
[getattr(alertstream, name) for name in alertstream.__all__]
from importlib import import_module
from pkgutil import walk_packages
for each in walk_packages(alertstream.__path__, "alertstream."):
    if not each.name.endswith("__main__"):
        import_module(each.name)
assert len(before) > 5000, len(before)
print(changed(before, attributes("aiokafka")))
print([name for name, there in filters.items()
       if there != logging.getLogger(name).filters + logging.getLogger(name).handlers])
"""


def test_all_modules_leave_aiokafka_as_it_is() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["[]", "[]"]
