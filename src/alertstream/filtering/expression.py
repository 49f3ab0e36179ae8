"""A filter without a file: an expression over an alert's fields."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from alertstream.alert.alert import Alert
from alertstream.errors import FilterError
from alertstream.filtering.filters import AlertFilter, require_topic_name


class WhereFilter(AlertFilter):
    """Passes the alerts for which an expression is true.

    The expression is parsed, never run as Python. It compares fields (dotted paths), quantities,
    numbers and strings, with ``and``, ``or``, ``not``, ``in (…)`` and arithmetic. What an alert
    lacks is NaN or None, and no comparison with it is true, but for ``== None``.

    :param expression: such as ``diaSource.snr > 5 and band in ("g", "r")``.
    :param topic: where they go.
    :raises FilterError: the expression is none.
    """

    def __init__(self, expression: str, topic: str) -> None:
        self._topic = require_topic_name(topic)
        self._expression = expression
        names: set[str] = set()
        try:
            self._holds = _compiled(ast.parse(expression.strip(), mode="eval").body, names)
        except (SyntaxError, ValueError, RecursionError) as error:
            raise FilterError(
                f"--where cannot be understood: {getattr(error, 'msg', error)}",
                where=expression,
                todo="write it like: diaSource.snr > 5 and magnitude < 20",
            ) from error
        self.fields = tuple(names)  # type: ignore[misc]

    @property
    def topic(self) -> str:
        """The output topic."""
        return self._topic

    @property
    def declared_in(self) -> str:
        """What names its fields, for errors."""
        return f"--where '{self._expression}'"

    def passes(self, alert: Alert) -> bool:
        """Return whether the expression is true of the alert."""
        return bool(self._holds(alert))


_Term = Callable[[Alert], Any]

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARE: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda value, values: value in values,
    ast.NotIn: lambda value, values: value not in values,
}


def _compiled(node: ast.AST, names: set[str]) -> _Term:
    """Return what a node of an expression gives for an alert, and note the fields it takes."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return lambda alert: value
        case ast.Name() | ast.Attribute():
            return _field(_dotted(node), names)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            parts = [_compiled(element, names) for element in elements]
            return lambda alert: [part(alert) for part in parts]
        case ast.BoolOp(op=ast.And(), values=values):
            parts = [_compiled(value, names) for value in values]
            return lambda alert: all(part(alert) for part in parts)
        case ast.BoolOp(op=ast.Or(), values=values):
            parts = [_compiled(value, names) for value in values]
            return lambda alert: any(part(alert) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            term = _compiled(operand, names)
            return lambda alert: not term(alert)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            term = _compiled(operand, names)
            return lambda alert: _calculated(operator.sub, 0, term(alert))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            first, second, calculate = (
                _compiled(left, names),
                _compiled(right, names),
                _BINARY[type(op)],
            )
            return lambda alert: _calculated(calculate, first(alert), second(alert))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            terms = [_compiled(each, names) for each in (left, *comparators)]
            if not all(type(op) in _COMPARE for op in ops):
                raise ValueError("is, and what else is no comparison of values, is not allowed")
            compares = [_COMPARE[type(op)] for op in ops]
            return lambda alert: _compared(compares, [term(alert) for term in terms])
    raise ValueError(f"{ast.unparse(node)} is not allowed")


def _dotted(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{_dotted(value)}.{name}"
    raise ValueError(f"{ast.unparse(node)} is not allowed")


def _field(name: str, names: set[str]) -> _Term:
    names.add(name)
    return lambda alert: alert.value(name)


def _calculated(calculate: Callable[[Any, Any], Any], first: Any, second: Any) -> Any:
    # Only of numbers: a text times a number could be gigabytes.
    if not (isinstance(first, int | float) and isinstance(second, int | float)):
        return math.nan
    try:
        return calculate(first, second)
    except (ZeroDivisionError, OverflowError):
        return math.nan


def _compared(compares: Sequence[Callable[[Any, Any], Any]], values: Sequence[Any]) -> bool:
    try:
        pairs = zip(compares, values, values[1:], strict=False)
        return all(compare(first, second) for compare, first, second in pairs)
    except TypeError:
        return False
