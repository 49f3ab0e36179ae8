"""Topics to figures: watching, counting, Prometheus, and load tests."""
