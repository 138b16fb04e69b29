"""RCAN: residual groups of blocks with channel attention."""
