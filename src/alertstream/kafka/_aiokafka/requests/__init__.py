"""Requests in versions of Kafka's protocol that aiokafka does not know yet."""
