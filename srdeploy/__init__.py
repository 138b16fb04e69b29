"""srdeploy: from published super-resolution weights to a small, proven, fast network on devices."""

__version__ = "0.1.0"
