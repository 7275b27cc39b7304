"""From ONNX bytes to a torch graph: read, normalise, look up, build."""
