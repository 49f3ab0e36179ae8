"""Topics to figures: watching, counting, Prometheus, and a look at what reading takes."""
