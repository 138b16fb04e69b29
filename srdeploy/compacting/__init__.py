"""Plan to small network, with proof."""
