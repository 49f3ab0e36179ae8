"""The benchmark: ``python -m bench`` measures alertstream against what people use today."""
