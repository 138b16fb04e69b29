"""IMDN: blocks that keep a part of the channels at each of their layers."""
