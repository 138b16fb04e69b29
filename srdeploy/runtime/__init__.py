"""Artifact to pixels: one session per runtime, and the image pipeline around it."""
