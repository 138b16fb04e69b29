"""Rows side by side: comparisons, verdicts, and why one artifact is not faster than another."""
