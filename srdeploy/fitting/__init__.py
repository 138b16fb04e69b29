"""The best network for a device and a budget: latency tables, an exact choice, and its proof."""
