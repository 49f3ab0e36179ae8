"""Simulated visits."""

from alertstream.errors import DataError

try:
    import numpy  # noqa: F401
except ModuleNotFoundError as error:
    raise DataError("simulate needs numpy", todo="pip install 'alertstream[simulate]'") from error
