"""QuickSRNet: plain 3x3 convolutions with clipped activations."""
