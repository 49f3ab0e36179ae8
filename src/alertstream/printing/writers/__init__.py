"""Alerts to files: Avro, Parquet, HTML, cutouts; each kind takes the same alerts or none does."""
