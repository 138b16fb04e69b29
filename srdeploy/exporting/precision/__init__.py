"""The precision of an ONNX file: 16 and 8 bits, written into the file."""
