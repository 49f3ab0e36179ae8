"""Make the pictures of the documentation anew: screens of a simulated night, as they are seen.

Run ``python docs/make_pictures.py`` with the package and its ``broker`` extra installed, and tmux.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURES = Path(__file__).parent / "pictures"
WIDTH, HEIGHT = 124, 34
TOPICS = ("alerts", "Filter001", "Filter002")


def main() -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory() as folder, _kafka(Path(folder)) as broker:
        night = Path(folder) / "night"
        how = ("--visits", 6, "--alerts", 600, "--history", "0-20", "--seed", 7)
        _run("simulate", night, *how)
        first, *rest = sorted(night.glob("*.avro"))
        _run("send", broker, "alerts", "--data", first, "--interval", 0)
        data = [each for path in rest for each in ("--data", path)]
        monitor = f"alertstream monitor {broker} {' '.join(TOPICS)}"
        with _started("filter", broker, "alerts", "1-2"):
            time.sleep(3)
            with _terminal(monitor) as screen:
                _run("send", broker, "alerts", *data, "--interval", 5, "--no-align")
                time.sleep(1)
                _picture("monitor", screen())
        shown = f"alertstream print {broker} Filter001 --exit-on-eof -n 18"
        with _terminal(shown) as screen:
            time.sleep(4)
            _picture("print", screen())


def _run(*arguments: object) -> None:
    subprocess.run(["alertstream", *map(str, arguments)], check=True, capture_output=True)


@contextmanager
def _started(*arguments: object) -> Iterator[None]:
    process = subprocess.Popen(
        ["alertstream", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _kafka(folder: Path) -> Iterator[str]:
    ready = folder / "ready"
    with _started("broker", "--port", 0, "--ready-file", ready):
        while not ready.exists():
            time.sleep(0.2)
        yield ready.read_text().strip()


@contextmanager
def _terminal(command: str) -> Iterator[Callable[[], str]]:
    """Run a command in a terminal; give what returns its screen, with colours."""
    session = "alertstream-pictures"
    tmux = ("tmux", "-L", session)
    size = ("-x", str(WIDTH), "-y", str(HEIGHT))
    subprocess.run([*tmux, "new-session", "-d", *size, f"{command}; sleep 60"], check=True)
    try:
        yield (
            lambda: (
                subprocess.run(
                    [*tmux, "capture-pane", "-e", "-p"], check=True, capture_output=True, text=True
                ).stdout
            )
        )
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)


def _picture(name: str, screen: str) -> None:
    with Path("/dev/null").open("w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(screen.rstrip()))
        console.save_svg(str(PICTURES / f"{name}.svg"), title=f"alertstream {name}")


if __name__ == "__main__":
    main()
