"""Which channels can go: groups of coupled channels, scores, plans."""
