"""ESPCN: convolutions at low resolution, then PixelShuffle."""
