"""Output: lines, progress bars, the live screen."""
