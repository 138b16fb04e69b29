"""EDSR, and LEDSR, which has the same body and the lite tail."""
