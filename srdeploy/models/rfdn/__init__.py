"""RFDN: IMDN with a convolution for each part of the channels, and spatial attention."""
