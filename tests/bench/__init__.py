"""The benchmark: ``python -m tests.bench`` measures alertstream beside what people use today."""
