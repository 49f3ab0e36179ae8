"""Container files, which hold alerts with their schema."""
