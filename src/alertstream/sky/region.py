"""What all regions of the sky share: they contain an alert's position, or not."""

from __future__ import annotations

import math
from typing import Any

from alertstream.alert.alert import Alert

Match = dict[str, Any]
"""What matched, and how closely, as JSON has it; ``in`` says where."""


class Region:
    """A part of the sky: ``alert in region`` says whether it contains the position.

    An alert without a position is in none.
    """

    fields = ("ra", "dec")
    """The alert's fields that it needs: name these in a filter's ``fields``."""

    def match(self, alert: Alert) -> Match | None:
        """Return what an alert matches, or None; it is appended to the alert's ``matches``."""
        ra, dec = alert.ra, alert.dec
        found = self.at(ra, dec) if -90 <= dec <= 90 and math.isfinite(ra) else None
        if found is not None:
            alert.matches.append(found)
        return found

    def at(self, ra: float, dec: float) -> Match | None:
        """Return what a position matches, or None.

        :param ra: deg, any.
        :param dec: deg, from -90 to 90.
        """
        raise NotImplementedError

    def __contains__(self, alert: Alert) -> bool:
        return self.match(alert) is not None
