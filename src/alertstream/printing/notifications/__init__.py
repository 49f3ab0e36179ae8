"""Notifications: alerts bundled into messages and sent to services, or given to a command."""
