"""To develop and check against: a local Kafka, simulated visits, the demo, the doctor."""
