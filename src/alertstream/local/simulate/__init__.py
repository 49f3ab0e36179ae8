"""Simulated visits."""

from alertstream.system.extras import extra

with extra("simulate", "simulated visits"):
    import numpy  # noqa: F401
