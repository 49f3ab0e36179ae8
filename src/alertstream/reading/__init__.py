"""Fetch, look up schemas, decode, count what is undecodable: used by all that read."""
