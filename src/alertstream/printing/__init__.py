"""Topics to people and files: lines, CSV, JSON, Avro, Parquet, HTML."""
