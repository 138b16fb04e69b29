"""Measurements to pages and tables."""
