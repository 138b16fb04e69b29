"""Images, benchmark sets and the bicubic degradation."""
