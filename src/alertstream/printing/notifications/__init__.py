"""Alerts to somebody: bundled into messages, sent to services, or given to a command."""
