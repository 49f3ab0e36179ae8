"""Fetch, look up schemas, decode, count what is undecodable: used by all that read."""

VISIT_TIMEOUT = 5.0
"""Seconds without an alert of a visit after which it counts as complete."""
