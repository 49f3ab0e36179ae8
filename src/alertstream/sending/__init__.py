"""Files to bursts to a topic: the visit schedule and the sender."""
