"""A filter without a file: an expression over an alert's fields."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from typing import Any

from alertstream import sky
from alertstream.alert.alert import Alert
from alertstream.errors import FilterError, UsageError
from alertstream.filtering.filters import AlertFilter
from alertstream.kafka.topics import require_topic_name

MAX_SHOWN = 200
"""Characters of an expression that an error message shows."""


class WhereFilter(AlertFilter):
    """Passes the alerts for which an expression is true.

    The expression is parsed, never run as Python. It compares fields (dotted paths), quantities,
    numbers and strings, with ``and``, ``or``, ``not``, ``in (…)``, ``is None``, arithmetic,
    ``abs``, ``len``, ``min`` and ``max``, and the regions of :mod:`alertstream.sky`, whose
    arguments are constants: ``cone(150.1, 2.2, "30 arcsec")``. A missing value is NaN or None, and
    no comparison with it is true, except ``== None``; its ``len`` is 0.

    :param expression: such as ``diaSource.snr > 5 and band in ("g", "r")``.
    :param topic: where they go.
    :raises UsageError: the expression, a region in it or the topic's name is not valid.
    """

    def __init__(self, expression: str, topic: str) -> None:
        require_topic_name(topic)
        self._topic = topic
        self._expression = expression
        fields: set[str] = set()
        try:
            self._evaluate = _compile(ast.parse(expression.strip(), mode="eval").body, fields)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            deep = isinstance(error, RecursionError | MemoryError)
            cause = "it is nested too deeply" if deep else getattr(error, "msg", error)
            raise UsageError(
                f"--where is not a valid expression: {cause}",
                where=expression[:MAX_SHOWN],
                todo="write it like: diaSource.snr > 5 and magnitude < 20",
            ) from error
        self.fields = tuple(fields)  # type: ignore[misc]

    @property
    def topic(self) -> str:
        """The output topic."""
        return self._topic

    @property
    def declared_in(self) -> str:
        """What names its fields, for error messages."""
        return f"--where '{self._expression}'"

    def passes(self, alert: Alert) -> bool:
        """Return whether the expression is true of the alert."""
        return bool(self._evaluate(alert))


_Term = Callable[[Alert], Any]
_Operation = Callable[[Any, Any], Any]

_ARITHMETIC: dict[type[ast.AST], _Operation] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISON: dict[type[ast.AST], _Operation] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda value, values: value in values,
    ast.NotIn: lambda value, values: value not in values,
}


def _compile(node: ast.AST, fields: set[str]) -> _Term:
    """Return a function that evaluates a node of an expression, and add the fields it needs."""

    def compiled(nodes: Sequence[ast.AST]) -> list[_Term]:
        return [_compile(each, fields) for each in nodes]

    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return lambda alert: value
        case ast.Name() | ast.Attribute():
            name = _dotted_name(node)
            fields.add(name)
            return lambda alert: alert.value(name)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            terms = compiled(elements)
            return lambda alert: [term(alert) for term in terms]
        case ast.BoolOp(op=op, values=values):
            terms, combine = compiled(values), all if isinstance(op, ast.And) else any
            return lambda alert: combine(term(alert) for term in terms)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            (term,) = compiled([operand])
            return lambda alert: not term(alert)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            (term,) = compiled([operand])
            return lambda alert: _calculate(operator.sub, 0, term(alert))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            (first, second), operation = compiled([left, right]), _ARITHMETIC[type(op)]
            return lambda alert: _calculate(operation, first(alert), second(alert))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in sky.FUNCTIONS:
            region = _region(node, sky.FUNCTIONS[name], given)
            fields.update(region.fields)
            return region.__contains__
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as given, keywords=[]):
            if name not in _FUNCTIONS or (len(given) > 1 and name in ("abs", "len")):
                raise ValueError(f"{ast.unparse(node)} is not allowed: there are {FUNCTIONS}")
            arguments, function = compiled(given), _FUNCTIONS[name]
            return lambda alert: function(*(term(alert) for term in arguments))
        case ast.Compare(left=left, ops=ops, comparators=right):
            for kind, each in zip(ops, right, strict=True):
                if isinstance(kind, ast.Is | ast.IsNot) and ast.unparse(each) != "None":
                    raise ValueError("'is' and 'is not' are for None only")
            terms, comparisons = compiled([left, *right]), [_COMPARISON[type(op)] for op in ops]
            return lambda alert: _compare(comparisons, [term(alert) for term in terms])
    raise ValueError(f"{ast.unparse(node)} is not allowed")


def _region(node: ast.AST, kind: type[sky.Region], given: Sequence[ast.AST]) -> sky.Region:
    takes = signature(kind).parameters
    needed = sum(each.default is each.empty for each in takes.values())
    if not needed <= len(given) <= len(takes):
        raise ValueError(f"{ast.unparse(node)}: it takes {', '.join(takes)}")
    try:
        constants = [ast.literal_eval(each) for each in given]
    except ValueError:
        raise ValueError(f"{ast.unparse(node)}: it takes constants only") from None
    return kind(*constants)


def _dotted_name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{_dotted_name(value)}.{name}"
    raise ValueError(f"{ast.unparse(node)} is not allowed")


def _calculate(operation: _Operation, first: Any, second: Any) -> Any:
    # Only of numbers: a text times a number could be gigabytes.
    if not (isinstance(first, int | float) and isinstance(second, int | float)):
        return math.nan
    try:
        return operation(first, second)
    except (ZeroDivisionError, OverflowError):
        return math.nan


def _compare(comparisons: Sequence[_Operation], values: Sequence[Any]) -> bool:
    pairs = zip(comparisons, values, values[1:], strict=False)
    try:
        return all(compare(first, second) for compare, first, second in pairs)
    except TypeError:
        in_last = comparisons[-1] in (_COMPARISON[ast.In], _COMPARISON[ast.NotIn])
        if any(isinstance(each, list) for each in values[: -1 if in_last else None]):
            todo = "use len(…), min(…) or max(…), or: 5 in …"
            raise FilterError("a list is not compared with a value", todo=todo) from None
        return False


def _absolute(value: Any) -> Any:
    return abs(value) if isinstance(value, int | float) else math.nan


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list | str | bytes) else 0


def _extreme(choose: Callable[[list[Any]], Any], *values: Any) -> Any:
    """Return the least or greatest number; NaN if there are none."""
    of = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    numbers = [each for each in of if isinstance(each, int | float) and not math.isnan(each)]
    return choose(numbers) if numbers else math.nan


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{"abs": _absolute, "len": _length},
    **{"min": partial(_extreme, min), "max": partial(_extreme, max)},
}
FUNCTIONS = f"abs, len, min, max, {', '.join(sky.FUNCTIONS)}"
