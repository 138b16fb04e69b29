"""SMSR: the network, its packed weights, and the form that computes everywhere."""
