"""Artifact on a device to measurement."""
