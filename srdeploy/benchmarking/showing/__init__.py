"""Rows, comparisons and verdicts for people."""
