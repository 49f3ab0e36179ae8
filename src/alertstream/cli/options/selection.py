"""Options that select alerts: an expression, and filters in Python files.

There is no ``from __future__ import annotations``, as typer evaluates these where a command is
defined, not here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alertstream.cli.options.completion import complete_where
from alertstream.cli.options.shared import Options, option_group

if TYPE_CHECKING:
    from alertstream.avro.schemas import Schema, Schemas
    from alertstream.errors import Notice
    from alertstream.filtering.filters import AlertFilter
    from alertstream.filtering.selection import Selection

_filters = option_group("Filters")


@dataclass(frozen=True, kw_only=True)
class SelectionOptions(Options):
    """Which alerts to read."""

    filters: list[Path] | None = _filters(
        None, "Alerts that this Python file's filters pass; its code is run; repeatable.", "FILE"
    )
    where: str | None = _filters(
        None,
        "Alerts of which this is true, as in: diaSource.snr > 5 and band == 'g'",
        "EXPRESSION",
        autocompletion=complete_where,
    )

    def selection(self, schemas: "Schemas", notice: "Notice") -> "Selection | None":
        """Return the selection of alerts, which have to pass each given option.

        :raises UsageError: the expression is not valid, or a filter names a field that is missing.
        :raises FilterError: a file cannot be run, or defines no filter.
        """
        from alertstream.filtering.expression import WhereFilter
        from alertstream.filtering.filters import choose_filters
        from alertstream.filtering.selection import Selection

        alternatives: list[list[AlertFilter]] = []
        if self.filters:
            alternatives.append(choose_filters((), self.filters))
        if self.where is not None:
            alternatives.append([WhereFilter(self.where, "--where")])
        for each in alternatives:
            require_declared(each, schemas)
        return Selection(alternatives, notice) if alternatives else None


def require_declared(
    filters: "Sequence[AlertFilter]", schemas: "Schemas", more: "Sequence[Schema]" = ()
) -> None:
    """Check that schemas have the fields that filters declare.

    :param more: schemas besides.
    :raises UsageError: there is a field that none of them has.
    """
    from alertstream.alert.fields import require_fields

    for each in filters:
        require_fields(each.fields or (), schemas, more, where=each.declared_in)
