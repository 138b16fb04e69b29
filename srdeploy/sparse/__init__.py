"""SMSR's sparse convolution: packed weights, the form that skips pixels, and its exports."""
