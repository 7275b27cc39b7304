"""What stands behind a score: one file is one engine."""
