"""Pruning without training: channels chosen by what they cost, then a least-squares refit."""
