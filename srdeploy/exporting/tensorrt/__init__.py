"""Networks to TensorRT engines."""
