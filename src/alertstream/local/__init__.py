"""To develop against: a Kafka on this machine, simulated visits, the demo."""
