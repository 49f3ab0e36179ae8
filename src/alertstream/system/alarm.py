"""Calls a function at regular intervals while something runs that may never end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def every(interval: float, call: Callable[[FrameType | None], None]) -> Iterator[None]:
    """Call ``call`` every so many seconds, with the frame of what it interrupts.

    What it raises is raised there. Only the main thread can be interrupted: in another one,
    ``call`` is not called.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda number, frame: call(frame))
    signal.setitimer(signal.ITIMER_REAL, interval, interval)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
