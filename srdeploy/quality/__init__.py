"""How good images are: metrics, protocols, and figures of a network on a benchmark set."""
