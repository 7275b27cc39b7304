"""Presets, the named settings of readers: one module is one family of models."""
