"""TensorRT engines on an NVIDIA GPU, through CUDA's driver."""
