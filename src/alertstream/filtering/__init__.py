"""Topics to filters to topics."""
