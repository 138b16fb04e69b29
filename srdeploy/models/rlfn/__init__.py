"""RLFN: RFDN without distillation."""
