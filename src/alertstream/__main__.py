"""The program's beginning: ``alertstream``, or ``python -m alertstream``."""

from __future__ import annotations

import signal
import sys

CONSUMERS = {"filter", "print", "monitor"}
"""Commands that a signal ends as well as anything: at once, if they have not begun."""


def main() -> None:
    """Run the command line and exit with its status."""
    # Until the command waits for signals itself, SIGTERM is as good as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        from alertstream.cli.app import status_of
        from alertstream.cli.terminal.output import fit_encoding, log_uncaught

        fit_encoding()
        log_uncaught()
        sys.exit(status_of(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(0 if CONSUMERS & {*sys.argv[1:]} else 130)


if __name__ == "__main__":
    main()
