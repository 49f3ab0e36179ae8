"""What programs import is few names, all from ``alertstream`` itself, and that at once."""

from __future__ import annotations

import subprocess
import sys

import alertstream
from alertstream import errors

HEAVY = {"aiohttp", "aiokafka", "asyncio", "fastavro", "numpy", "rich", "typer", "uvloop"}


def test_all_names_are_there() -> None:
    for name in alertstream.__all__:
        assert getattr(alertstream, name)


def test_all_errors_are_public() -> None:
    family = {
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, alertstream.AlertStreamError)
    }
    assert family < {*alertstream.__all__}


def test_import_brings_nothing_heavy() -> None:
    code = f"import sys, alertstream; print({HEAVY} & {{*sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
