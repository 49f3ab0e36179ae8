"""Make the pictures of the documentation anew: screens of a simulated night, as they are seen.

Run ``python docs/make_pictures.py`` with the package and its extras ``broker``, ``images``
and ``plot`` installed, and tmux. A picture of the page of alerts needs Chromium, too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURES = Path(__file__).parent / "pictures"
WIDTH, HEIGHT = 124, 34
"""Columns and lines of a terminal."""
PAGE = "1400,760"
"""Pixels of a page."""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
TOPICS = ("alerts", "Filter001", "Filter002")


def main() -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory() as folder, _kafka(Path(folder)) as broker:
        night = Path(folder) / "night"
        how = ("--visits", 6, "--alerts", 600, "--history", "0-20", "--seed", 7)
        _run("simulate", night, *how)
        first, *rest = sorted(night.glob("*.avro"))
        picture = ("--picture", PICTURES / "passing.png")
        _run("filter", "--dry-run", first, 1, "--cap", 0, *picture)
        _run("send", broker, "alerts", "--data", first, "--interval", 0)
        data = [each for path in rest for each in ("--data", path)]
        monitor = f"alertstream monitor {broker} {' '.join(TOPICS)}"
        with _started("filter", broker, "alerts", "1-2"):
            time.sleep(3)
            with _terminal(monitor) as screen:
                _run("send", broker, "alerts", *data, "--interval", 5, "--no-align")
                time.sleep(1)
                _picture("monitor", screen())
        _screen("print", f"print {broker} Filter001 --exit-on-eof -n 8")
        one = f"{broker} Filter001 --exit-on-eof -n 1"
        _screen("cutouts", f"print {one} --show-cutouts", width=80, height=24)
        page, stamps = Path(folder) / "night.html", Path(folder) / "stamps"
        kept = ("--stampDir", stamps, "--stampFormat", "png")
        _run("print", broker, "Filter001", "--exit-on-eof", "-n", 12, "--save", page, *kept)
        shutil.copy(min(stamps.glob("*.png")), PICTURES / "triplet.png")
        _photograph(page, PICTURES / "page.png")


def _screen(name: str, arguments: str, width: int = WIDTH, height: int = HEIGHT) -> None:
    with _terminal(f"alertstream {arguments}", width, height) as screen:
        time.sleep(4)
        _picture(name, screen(), width)


def _photograph(page: Path, picture: Path) -> None:
    """Make a picture of a page as a browser shows it, if there is one."""
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        sys.stderr.write("no Chromium: no new picture of the page\n")
        return
    how = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
    size = f"--window-size={PAGE}"
    command = [chromium, *how, size, f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


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
def _terminal(
    command: str, width: int = WIDTH, height: int = HEIGHT
) -> Iterator[Callable[[], str]]:
    """Run a command in a terminal; give what returns its screen, with colours."""
    # A server of its own: the last one may still be about to end.
    session = f"alertstream-{time.monotonic_ns()}"
    tmux = ("tmux", "-L", session, "-u")
    size = ("-x", str(width), "-y", str(height))
    subprocess.run(
        [*tmux, "new-session", "-d", *size, f"COLORTERM=truecolor {command}; sleep 60"], check=True
    )
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


def _picture(name: str, screen: str, width: int = WIDTH) -> None:
    with Path("/dev/null").open("w") as nowhere:
        console = Console(record=True, width=width, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(screen.rstrip()))
        console.save_svg(str(PICTURES / f"{name}.svg"), title=f"alertstream {name}")


if __name__ == "__main__":
    main()
