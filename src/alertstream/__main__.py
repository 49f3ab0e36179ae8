"""The entry point: ``alertstream``, or ``python -m alertstream``."""

from __future__ import annotations

import os
import signal
import sys

ENDED_BY_SIGNALS = {"filter", "print", "notify", "monitor", "load", "broker"}
"""Commands that a signal ends with success, also before they have begun."""


def main() -> None:
    """Run the command line and exit with its status."""
    _open_standard_streams()
    # Until the command waits for signals itself, SIGTERM is as good as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        from alertstream.cli.app import status_of
        from alertstream.cli.terminal.output import fit_encoding, log_uncaught

        fit_encoding()
        log_uncaught()
        sys.exit(status_of(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(0 if ENDED_BY_SIGNALS & {*sys.argv[1:]} else 130)


def _open_standard_streams() -> None:
    """Open those that the caller has closed: else the next file that is opened would be one.

    Writing to standard output fails then, as on a full disk, and what goes to standard error is
    nowhere.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            flags = os.O_WRONLY if name == "stderr" else os.O_RDONLY
            # The lowest number that is free, so that of the stream.
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode))


if __name__ == "__main__":
    main()
