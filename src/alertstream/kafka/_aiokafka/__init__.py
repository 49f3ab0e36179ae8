"""What aiokafka lacks."""
