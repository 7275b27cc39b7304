"""Formats of results: one module is one format."""
