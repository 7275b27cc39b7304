"""Explain exported ONNX models."""

__version__ = "0.1.0"
