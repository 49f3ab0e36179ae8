"""The only package that knows aiokafka: connection, admin, producer, consumer, group log."""
