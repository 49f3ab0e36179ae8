"""The benchmark: ``python -m bench`` measures alertstream beside what people use today."""
