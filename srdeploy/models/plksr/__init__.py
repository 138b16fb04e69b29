"""PLKSR and RealPLKSR: large kernels on a part of the channels."""
