"""Artifacts on devices to measurements, and measurements to rows of figures."""
