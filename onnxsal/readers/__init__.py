"""Readers of input files: one module is one reader."""
