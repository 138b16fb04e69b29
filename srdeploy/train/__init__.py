"""Training and fine-tuning: one loop."""
