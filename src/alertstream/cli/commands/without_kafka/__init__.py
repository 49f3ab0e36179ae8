"""Commands that need no Kafka."""
