"""Pickles read as data: nothing in them runs, and none takes more than its bytes warrant."""
