"""From a network to its groups of coupled channels."""
