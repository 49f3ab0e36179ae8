"""Optional libraries: where one is missing, the error says which extra to install."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from alertstream.errors import UsageError


@contextmanager
def extra(name: str, purpose: str) -> Iterator[None]:
    """Turn a failing import in the context into an error that names the extra to install.

    :param purpose: what needs them, in the plural, for the user.
    :raises UsageError: one is not installed.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            # Some warn on import: astropy about missing configuration folders.
            yield
    except ImportError as error:
        missing = f" ({error.name})" if error.name else ""
        raise UsageError(
            f"{purpose} need packages that are not installed{missing}",
            todo=f"pip install 'alertstream[{name}]'",
        ) from error
