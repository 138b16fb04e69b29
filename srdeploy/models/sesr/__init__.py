"""SESR: collapsible linear blocks between two 5x5 convolutions."""
