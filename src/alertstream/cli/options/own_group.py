"""The group of those who do not want to name one, and yet go on where they stopped."""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256

AUTO = "auto"
"""Instead of a group's name: it follows from what is read."""
SELECTION = ("interval", "visit", "fields", "filters", "where")
"""Options that say what is shown of topics."""
MAX_TOPICS = 100
"""Characters of topics' names in a group's name."""
_UNSAFE = re.compile(r"[^\w.-]")


def own_group(
    user: str | None, command: str, topics: Sequence[str], options: object, more: Sequence[str] = ()
) -> str:
    """Return a name that is the same whenever a user shows the same of the same topics.

    It begins with the user's name, as where groups belong to users.

    :param user: name at Kafka; None is the one on this machine.
    :param options: has the ``SELECTION``, as far as the command takes it.
    :param more: what else makes a difference.
    """
    shown = [str(getattr(options, each, None)) for each in SELECTION]
    digest = sha256(json.dumps([*topics, *shown, *more]).encode()).hexdigest()[:8]
    names = "-".join(topics)[:MAX_TOPICS]
    return _UNSAFE.sub("_", f"{user or _user_here()}-{command}-{names}-{digest}")


def _user_here() -> str:
    # In a container, a user may have no name.
    with suppress(KeyError, OSError, ImportError):
        return getpass.getuser()
    return "nobody"
