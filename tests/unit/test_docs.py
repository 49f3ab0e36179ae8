"""What the documentation says exists: commands, options, modules, tests, public names, links."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer import TyperException
from typer.main import get_command

import alertstream
from alertstream.cli.app import app
from alertstream.filtering.filters import choose_filters

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "alertstream"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
MANUALS = [*PAGES, *sorted((ROOT / "deploy").glob("*/README.md")), ROOT / "data" / "README.md"]
COMMANDS = get_command(app).commands
SKY = {"Cone", "Moc", "SkyMap", "Watchlist"}
"""What programs import from ``alertstream.sky``."""
ROOT_OPTIONS = ("--profile", "--config")
"""What a command line may have anywhere, with a value."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def command_lines(page: Path) -> Iterator[list[str]]:
    """The arguments of each ``alertstream`` that a page tells its readers to run."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
            lexer.whitespace_split = True
            words = list(lexer)
            while "alertstream" in words:
                words = words[words.index("alertstream") + 1 :]
                ends = [n for n, word in enumerate(words) if set(word) <= set("();<>|&")]
                yield words[: ends[0] if ends else None]


def without_root_options(arguments: list[str]) -> list[str]:
    words = iter(arguments)
    rest = []
    for word in words:
        if word in ROOT_OPTIONS:
            next(words)
        else:
            rest.append(word)
    return rest


def parse(arguments: list[str]) -> None:
    """Raise typer's error if a command line names a command or an option that does not exist."""
    name, *rest = without_root_options(arguments)
    if name.startswith("--"):
        assert name in ("--help", "--version", "--install-completion"), arguments
        return
    command: Any = COMMANDS[name]
    if hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    _, left, _ = command.make_parser(command.context_class(command)).parse_args(rest)
    assert not left, arguments


@pytest.mark.parametrize("page", MANUALS, ids=lambda page: str(page.relative_to(ROOT)))
def test_command_lines_are_valid(page: Path) -> None:
    for arguments in command_lines(page):
        parse(arguments)


def test_invalid_command_lines_are_noticed() -> None:
    parse(["print", "BROKER", "TOPIC", "--profile", "rubin", "-n", "3"])
    with pytest.raises(TyperException, match="No such option"):
        parse(["print", "BROKER", "TOPIC", "--bogus"])
    with pytest.raises(AssertionError):
        parse(["simulate", "DIR", "more"])


def test_each_command_has_a_page_with_its_options() -> None:
    for name in COMMANDS:
        page = DOCS / "commands" / f"{name}.md"
        assert f"<!-- options: alertstream {name} -->" in page.read_text(encoding="utf-8")
    found = sum(len(list(command_lines(page))) for page in PAGES)
    assert found > 80


def test_links_lead_somewhere() -> None:
    for page in MANUALS:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert link.startswith("http") or (page.parent / link).exists(), (page.name, link)


def test_all_pages_are_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        assert f" {page.relative_to(DOCS)}\n" in navigation, page


def test_readme_is_short_and_has_both_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150
    first_screen = readme.splitlines()[:30]
    assert "pip install '.[broker]' && alertstream demo" in first_screen
    assert "pip install '.[test]' && pytest -n 3 --dist loadfile" in first_screen


def test_page_of_the_library_lists_the_public_names() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    assert {*re.findall(r"^::: alertstream\.sky\.(\w+)$", page, re.MULTILINE)} == SKY
    listed = set(re.findall(r"^::: alertstream\.(\w+)$", page, re.MULTILINE))
    assert listed - {"errors"} <= {*alertstream.__all__}
    public = {name for name in alertstream.__all__ if not name.startswith("__")}
    missing = public - listed
    assert all(issubclass(getattr(alertstream, name), Exception) for name in missing), missing


def test_python_on_pages_uses_public_names_only() -> None:
    for page in PAGES:
        for block in blocks(page, "python"):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                    "alertstream"
                ):
                    names = {each.name for each in node.names}
                    public = {"alertstream": {*alertstream.__all__}, "alertstream.sky": SKY}
                    assert names <= public[node.module or ""]


def test_filters_on_pages_can_be_loaded(tmp_path: Path) -> None:
    names = []
    for number, block in enumerate(
        block for page in PAGES for block in blocks(page, "python") if "(AlertFilter)" in block
    ):
        file = tmp_path / f"filters{number}.py"
        file.write_text(block, encoding="utf-8")
        names += [type(each).__name__ for each in choose_filters((), [file])]
    assert sorted(names) == ["BrightAndBlue", "NearM31", "NearMyTargets", "Rising"]


def test_promises_name_tests_that_exist() -> None:
    page = (DOCS / "promises.md").read_text(encoding="utf-8")
    files = re.findall(r"`(tests/[\w/]+\.py)`", page)
    functions = re.findall(r"`(test_\w+)`", page)
    assert files
    assert len(functions) > 10
    assert [each for each in files if not (ROOT / each).exists()] == []
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    defined = set(re.findall(r"def (test_\w+)\(", "\n".join(sources)))
    assert {*functions} - defined == set()


def entries(folder: Path) -> set[str]:
    """A folder's modules and packages."""
    found = {path.stem for path in folder.glob("*.py")}
    return (found | {path.parent.name for path in folder.glob("*/__init__.py")}) - {"__init__"}


def imported(entry: Path) -> set[str]:
    """The dotted names that a module, or a package's modules, import."""
    names: set[str] = set()
    for path in entry.rglob("*.py") if entry.is_dir() else [entry.with_suffix(".py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {f"{node.module}.{each.name}" for each in node.names}
    return names


def test_architecture_names_all_packages_and_their_modules_bottom_up() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| .*? \|(.*)\|$", page, re.MULTILINE))
    assert {*rows} == entries(SOURCE) - {"__main__"}
    for name, text in rows.items():
        modules = re.findall(r"`(\w+)`", text)
        assert {*modules} == entries(SOURCE / name), name
        for number, module in enumerate(modules):
            used = imported(SOURCE / name / module)
            for later in modules[number + 1 :]:
                later_name = f"alertstream.{name}.{later}."
                assert not any(f"{each}.".startswith(later_name) for each in used), (module, later)


def test_architecture_names_modules_that_exist() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    paths = re.findall(r"`(\w+(?:/\w+)+(?:\.py)?)`", page)
    assert len(paths) > 40
    for path in paths:
        assert (SOURCE / path).exists() or (ROOT / path).exists(), path


def test_paths_on_pages_exist() -> None:
    """Files and folders of the repository are named by where they are."""
    for page in MANUALS:
        text = page.read_text(encoding="utf-8")
        for path in re.findall(r"`((?:src|tests|bench|deploy|docs)/[\w./-]*)`", text):
            assert (ROOT / path).exists(), (page.name, path)
        for module in re.findall(r"python -m ((?:tests|bench)[.\w]*)", text):
            path = ROOT.joinpath(*module.split("."))
            assert path.is_dir() or path.with_suffix(".py").exists(), (page.name, module)
