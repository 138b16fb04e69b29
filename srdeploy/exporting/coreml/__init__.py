"""Networks to Core ML packages."""
