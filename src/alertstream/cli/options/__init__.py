"""Options: what commands share, where their values come from, what a shell completes."""
