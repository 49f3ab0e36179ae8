"""Fetch, look up schemas, decode, count undecodable messages: shared by all readers."""

VISIT_TIMEOUT = 5.0
"""Seconds without an alert of a visit after which it counts as complete."""
