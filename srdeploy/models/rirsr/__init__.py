"""RIRSR: RCAN without channel attention."""
