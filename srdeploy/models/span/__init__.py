"""SPAN: the network, and its files, whose branches are folded when they are read."""
