"""The operating system: files, TLS, child processes, cancellation."""
