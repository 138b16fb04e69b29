"""Reading checkpoints from strangers, without running anything in them."""
