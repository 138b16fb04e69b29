"""ECBSR: edge-oriented convolution blocks, folded into plain 3x3 convolutions."""
