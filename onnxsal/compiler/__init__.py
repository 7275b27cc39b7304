"""The attribution as an ONNX file: a method traced over a model, and written down as plain operators."""
