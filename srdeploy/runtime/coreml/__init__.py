"""Core ML packages: in Apple's runtime, and in srdeploy's own interpreter."""
